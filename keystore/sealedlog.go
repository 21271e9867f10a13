package keystore

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
)

// A sealed log is a file of records that only who holds the master key can read or
// write. Each file has a key of its own (a random salt goes into it), so its records
// are counted from 0 and need no other nonce, and no record of one file passes for one
// of another. A file is written by one process from its beginning on and never
// continued by another: no nonce comes twice.
//
// A record is its length (4 bytes, big-endian), a seal of that length and of its number
// (16), and the sealed text. The length has a seal of its own because only so a file that
// ends in the middle of a record can be told from one whose length was changed: the one is
// what a crash leaves behind, and was confirmed to nobody; the other is refused.

const (
	sealedMagic   = "keyreeve snapshot"
	sealedVersion = 1
	sealedSalt    = 32
	sealedInfo    = "node snapshot v1 "
	// maxSealedRecord bounds a record, in bytes, and so what reading one takes.
	maxSealedRecord = 64 << 20
	recordHead      = 4 + 16
)

// The first four bytes of a nonce say what it seals; the number of the record follows.
const (
	nonceLength = iota
	nonceText
)

// SnapshotSealer gives the keys that snapshots are sealed with, from master keys that
// are kept elsewhere. A credential.Keyring is one.
type SnapshotSealer interface {
	// CurrentID names the master key that new files are sealed under.
	CurrentID() string
	// Derive is a key for one purpose; held is false for a master key that is not.
	Derive(masterKeyID, info string) (key [32]byte, held bool)
}

// errTampered: the file is not as it was written. Never shown to a caller of the gate.
var errTampered = errors.New("it is damaged, or was changed, or is sealed under another master key of that name")

func sealedKey(sealer SnapshotSealer, masterKeyID string, salt []byte) (cipher.AEAD, error) {
	key, held := sealer.Derive(masterKeyID, sealedInfo+hex.EncodeToString(salt))
	if !held {
		return nil, fmt.Errorf("it is sealed under master key %q, which is not held", masterKeyID)
	}
	block, err := aes.NewCipher(key[:])
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

func sealedNonce(what uint32, number uint64) []byte {
	nonce := binary.BigEndian.AppendUint32(make([]byte, 0, 12), what)
	return binary.BigEndian.AppendUint64(nonce, number)
}

// sealedWriter writes one sealed log. Not safe for concurrent use. After an error it
// may end in half a record, so nothing must be written to it any more.
type sealedWriter struct {
	f      *os.File
	info   fs.FileInfo // of f, as it was begun
	aead   cipher.AEAD
	number uint64
	size   int64 // bytes written
	buf    []byte
}

// newSealedWriter begins a log in an empty file.
func newSealedWriter(f *os.File, sealer SnapshotSealer) (*sealedWriter, error) {
	id, salt := sealer.CurrentID(), make([]byte, sealedSalt)
	_, _ = rand.Read(salt) // never fails: crypto/rand ends the process instead
	aead, err := sealedKey(sealer, id, salt)
	if err != nil {
		return nil, err
	}
	if len(id) > 255 {
		return nil, fmt.Errorf("master key id of %d bytes, expected at most 255", len(id))
	}
	head := append([]byte(sealedMagic), sealedVersion, byte(len(id)))
	head = append(append(head, id...), salt...)
	n, err := f.Write(head)
	return &sealedWriter{f: f, aead: aead, size: int64(n)}, err
}

// append writes one record, in one call.
func (w *sealedWriter) append(text []byte) error {
	if len(text) > maxSealedRecord-w.aead.Overhead() {
		return fmt.Errorf("snapshot record of %d bytes, expected at most %d", len(text), maxSealedRecord)
	}
	length := binary.BigEndian.AppendUint32(nil, uint32(len(text)+w.aead.Overhead()))
	w.buf = w.aead.Seal(append(w.buf[:0], length...), sealedNonce(nonceLength, w.number), nil, length)
	w.buf = w.aead.Seal(w.buf, sealedNonce(nonceText, w.number), text, nil)
	w.number++
	n, err := w.f.Write(w.buf)
	w.size += int64(n)
	if cap(w.buf) > 1<<20 {
		w.buf = nil
	}
	return err
}

// sealedReader reads one sealed log.
type sealedReader struct {
	r      io.Reader
	aead   cipher.AEAD
	number uint64
	buf    []byte
	// torn: the log ended in the middle of a record.
	torn bool
}

// openSealed reads the beginning of a log.
func openSealed(r io.Reader, sealer SnapshotSealer) (*sealedReader, error) {
	head := make([]byte, len(sealedMagic)+2)
	if _, err := io.ReadFull(r, head); err != nil || string(head[:len(sealedMagic)]) != sealedMagic {
		return nil, errors.New("it is no snapshot of a node")
	}
	if v := head[len(sealedMagic)]; v != sealedVersion {
		return nil, fmt.Errorf("its format is %d, expected %d: another version of Keyreeve wrote it", v, sealedVersion)
	}
	rest := make([]byte, int(head[len(sealedMagic)+1])+sealedSalt)
	if _, err := io.ReadFull(r, rest); err != nil {
		return nil, errors.New("it ends too early")
	}
	id, salt := rest[:len(rest)-sealedSalt], rest[len(rest)-sealedSalt:]
	aead, err := sealedKey(sealer, string(id), salt)
	if err != nil {
		return nil, err
	}
	return &sealedReader{r: r, aead: aead}, nil
}

// next is the next record, valid until it is called again; io.EOF behind the last. What
// a crash leaves behind the last whole record is no error: half a record, or zeros,
// which some file systems put where text should have been.
func (r *sealedReader) next() ([]byte, error) {
	var head [recordHead]byte
	_, err := io.ReadFull(r.r, head[:])
	switch {
	case err == io.EOF:
		return nil, io.EOF
	case err == io.ErrUnexpectedEOF:
		r.torn = true
		return nil, io.EOF
	case err != nil:
		return nil, err
	}
	if _, err := r.aead.Open(nil, sealedNonce(nonceLength, r.number), head[4:], head[:4]); err != nil {
		return nil, r.zeros(head[:])
	}
	length := binary.BigEndian.Uint32(head[:4])
	if length > maxSealedRecord {
		return nil, errTampered
	}
	if cap(r.buf) < int(length) {
		r.buf = make([]byte, length)
	}
	r.buf = r.buf[:length]
	if _, err := io.ReadFull(r.r, r.buf); err != nil {
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			r.torn = true
			return nil, io.EOF
		}
		return nil, err
	}
	text, err := r.aead.Open(r.buf[:0], sealedNonce(nonceText, r.number), r.buf, nil)
	if err != nil {
		return nil, errTampered
	}
	r.number++
	return text, nil
}

// zeros is io.EOF if what was read and all that follows is zero.
func (r *sealedReader) zeros(read []byte) error {
	buf := make([]byte, 64<<10)
	for {
		if len(bytes.Trim(read, "\x00")) > 0 {
			return errTampered
		}
		n, err := r.r.Read(buf)
		read = buf[:n]
		if err == io.EOF && n == 0 {
			r.torn = true
			return io.EOF
		}
		if err != nil && err != io.EOF {
			return err
		}
	}
}
