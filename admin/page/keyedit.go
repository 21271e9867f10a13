package page

func (v *visit) showEdit() error { return v.noSuchPath() }
func (v *visit) edit() error     { return v.noSuchPath() }
