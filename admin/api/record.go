package api

// recordOutput is one record as it stands.
type recordOutput[T any] struct {
	ETag string `header:"ETag"`
	Body T
}

// changedOutput is a record as a write left it.
type changedOutput[T any] struct {
	Written
	ETag string `header:"ETag"`
	Body T
}

// createdOutput is a record just made.
type createdOutput[T any] struct {
	Written
	ETag     string `header:"ETag"`
	Location string `header:"Location"`
	Body     T
}

// RecordID is the path's id of a record. Exported, as KeyID is.
type RecordID struct {
	ID string `path:"id"`
}

type changeRecordInput struct {
	RecordID
	IfMatch string `header:"If-Match" doc:"ETag that the record must still have."`
}
