package cli

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"time"
)

const (
	// maxTries is how often a request is sent that gets no answer.
	maxTries = 4
	// firstPause is how long the first of them waits for the next, in which the
	// pause doubles.
	firstPause = 250 * time.Millisecond
	// lastWait is for how long, in seconds, the last change waits for every node to have
	// it, and with it those before.
	lastWait = "2"
)

// carryOut does what the plan says, in its order, up to the first failure.
func (a *applier) carryOut(ctx context.Context) (err error) {
	if a.secrets, err = a.console.openSecrets(a.flags.secretsOut, a.plan.secrets); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, a.secrets.close()) }()
	a.hold = true
	defer func() {
		a.hold = false
		a.tellPending(a.held)
	}()
	total := strconv.Itoa(a.plan.changes())
	at := ""
	did := func(action string) {
		a.done.add(action)
		a.console.progress(a.done.changes(), total, "done")
	}
	err = a.walk(ctx, func(s *step) error {
		at = s.at + " (" + s.Kind + " " + printable(s.Name) + ")"
		if err := a.carry(ctx, s); err != nil {
			return err
		}
		did(s.Action)
		return nil
	})
	for i := 0; err == nil && i < len(a.plan.gone); i++ {
		gone := a.plan.gone[i]
		at = gone.kind.one + " " + printable(gone.id)
		if _, err = a.repeat(ctx, gone.on(http.MethodDelete)); err == nil || isGone(err) {
			err = nil
			did(planDelete)
		}
	}
	a.console.progress(0, "", "")
	if err != nil {
		left := counts{create: a.plan.create - a.done.create, update: a.plan.update - a.done.update, delete: a.plan.delete - a.done.delete}
		return fmt.Errorf("stopped at %s: %w\ndone: %d created, %d updated, %d deleted; not done: %d to create, %d to update, %d to delete; once it is mended run it again, what is done stays",
			at, err, a.done.create, a.done.update, a.done.delete, left.create, left.update, left.delete)
	}
	a.console.note("done: %d created, %d updated, %d deleted, %d unchanged", a.done.create, a.done.update, a.done.delete, a.done.unchanged)
	return nil
}

func isGone(err error) bool {
	var p *problem
	return errors.As(err, &p) && p.Status == http.StatusNotFound && !p.foreign
}

func (a *applier) carry(ctx context.Context, s *step) error {
	switch s.Action {
	case planCreate:
		return a.create(ctx, s)
	case planUpdate:
		return a.update(ctx, s)
	}
	return nil
}

// create makes a record. A key's secret is written before anything else is done.
func (a *applier) create(ctx context.Context, s *step) error {
	body := map[string]any{}
	for name, value := range s.want {
		if value != nil || name == "customer_id" || name == "microtenant_id" { // null says something there
			body[apiName(name)] = value
		}
	}
	r, err := a.repeat(ctx, call{method: http.MethodPost, path: s.kind.path, body: body, once: a.once(s)})
	if err != nil {
		return err
	}
	switch s.kind.name {
	case rolesSection:
		var made role
		if err := json.Unmarshal(r.body, &made); err != nil {
			return fmt.Errorf("the role was made, but the answer of %s cannot be read: %w", a.where, err)
		}
		a.there.roleComes(made)
	case keysSection:
		var made key
		if err := json.Unmarshal(r.body, &made); err != nil {
			return fmt.Errorf("the key was made, but the answer of %s cannot be read: %w", a.where, err)
		}
		return a.keep(ctx, s, &made)
	}
	return nil
}

// keep writes the secret of a key just made. A request that was carried out but
// whose answer was lost leaves a key without one that anybody knows: it gets another.
func (a *applier) keep(ctx context.Context, s *step, made *key) error {
	if s.want.text("secret_sha256") != "" {
		return nil
	}
	if made.ClientSecret == "" {
		r, err := a.repeat(ctx, call{method: http.MethodPost, path: keyPath(made.ID) + "/secrets", body: map[string]any{"previous_expires_in": 0}})
		if err != nil {
			return fmt.Errorf("the key %s was made, but the answer with its secret was lost; `secret rotate` gives it another: %w", made.ID, err)
		}
		if err := json.Unmarshal(r.body, made); err != nil {
			return fmt.Errorf("reading the answer of %s: %w", a.where, err)
		}
	}
	if err := a.secrets.write(made); err != nil {
		return fmt.Errorf("the key %s was made, but its secret could not be written and is lost; `secret rotate` gives it another: %w", made.ID, err)
	}
	return nil
}

// update changes what differs now, unless someone else changes it at that moment.
func (a *applier) update(ctx context.Context, s *step) error {
	for try := 1; ; try++ {
		have, etag, err := a.there.again(ctx, s.there)
		if err != nil {
			return err
		}
		changes := s.want.differs(s.kind, have)
		if len(changes) == 0 {
			return nil
		}
		patch := map[string]any{}
		for _, name := range changes {
			patch[apiName(name)] = mergePatch(s.want[name], have[name])
		}
		in := s.there.on(http.MethodPatch)
		in.body, in.merge, in.match = patch, true, etag
		_, err = a.repeat(ctx, in)
		var refused *problem
		if errors.As(err, &refused) && refused.Status == http.StatusPreconditionFailed && try < maxTries {
			continue // by an answer that was lost, or by someone else: look again
		}
		return err
	}
}

// mergePatch makes have what want is (RFC 7396): members of an object that want
// does not have are taken away.
func mergePatch(want, have any) any {
	wanted, isMap := want.(map[string]any)
	had, wasMap := have.(map[string]any)
	if !isMap || !wasMap {
		return want
	}
	patch := map[string]any{}
	for name := range had {
		patch[name] = nil
	}
	for name, value := range wanted {
		patch[name] = value
	}
	return patch
}

// once names the request that makes a record, in this run and no other.
func (a *applier) once(s *step) string {
	sum := sha256.Sum256([]byte(s.kind.name + "\x00" + s.kind.ident(s.want)))
	return a.run + "-" + hex.EncodeToString(sum[:16])
}

// repeat is do, again where there was no answer or the store was out of reach:
// what is asked for is the same whether it is carried out once or twice.
func (a *applier) repeat(ctx context.Context, in call) (*reply, error) {
	if in.method != http.MethodGet {
		in.wait = "0"
		if a.done.changes()+1 >= a.plan.changes() {
			in.wait = lastWait // it waits for all
		}
	}
	pause := firstPause
	for try := 1; ; try++ {
		r, err := a.do(ctx, in)
		if err == nil || try == maxTries || ctx.Err() != nil || !passing(err) {
			return r, err
		}
		select {
		case <-ctx.Done():
			return nil, err
		case <-time.After(pause):
		}
		pause *= 2
	}
}

// passing failures may be over soon.
func passing(err error) bool {
	var answer *problem
	var usage *usageError
	if !errors.As(err, &answer) {
		return !errors.As(err, &usage)
	}
	return answer.Status == http.StatusServiceUnavailable && answer.Code != codeRestored || answer.Code == "idempotency_in_progress"
}

// secretsOut is where the secrets of new keys go, a JSON object in each line.
type secretsOut struct {
	console *console
	file    *os.File
}

// keySecret is a new key with its secret.
type keySecret struct {
	ID            string `json:"id"`
	Name          string `json:"name"`
	CustomerID    string `json:"customer_id"`
	MicrotenantID string `json:"microtenant_id,omitempty"`
	ClientID      string `json:"client_id"`
	ClientSecret  string `json:"client_secret"`
}

// openSecrets opens the file before any key is made, for its owner alone.
func (s *console) openSecrets(path string, needed bool) (*secretsOut, error) {
	out := &secretsOut{console: s}
	if path == "" || !needed {
		return out, nil
	}
	var err error
	out.file, err = os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("--secrets-out: %w; nothing was changed", err)
	}
	return out, nil
}

func (o *secretsOut) write(k *key) error {
	line, err := json.Marshal(keySecret{k.ID, k.Name, k.CustomerID, k.MicrotenantID, k.ClientID, k.ClientSecret})
	if err != nil {
		return err
	}
	if o.file == nil {
		_, err = o.console.env.Stdout.Write(append(line, '\n'))
		return err
	}
	_, err = o.file.Write(append(line, '\n'))
	return err
}

func (o *secretsOut) close() error {
	if o.file == nil {
		return nil
	}
	return errors.Join(o.file.Sync(), o.file.Close())
}
