package page

import (
	"net/http"
	"net/url"

	"github.com/keyreeve/keyreeve/admin/lifecycle"
	"github.com/keyreeve/keyreeve/policy"
)

const acceptRestorePath = nodesPath + "/accept-restore"

// nodesAnew goes to the list, loaded whole, with a message: what changed is told around
// the table too.
func (v *visit) nodesAnew(message string) error {
	v.leave(notice{Text: message})
	return v.redirect(nodesPath)
}

// registeredNode is the node of the path, for an actor who may forget nodes.
func (v *visit) registeredNode() (nodeRow, error) {
	if err := v.svc().May(v.ctx(), v.actor, lifecycle.NeedsTo(policy.Delete, lifecycle.ResourceNodes)); err != nil {
		return nodeRow{}, err
	}
	found, err := v.svc().ListNodes(v.ctx(), v.actor, lifecycle.NodeFilter{Paging: lifecycle.Paging{Size: lifecycle.Some(lifecycle.MaxPageSize)}})
	if err != nil {
		return nodeRow{}, err
	}
	for _, n := range found.Items {
		if n.ID == v.id() {
			return nodeRow{Node: n}, nil
		}
	}
	return nodeRow{}, &lifecycle.Error{Kind: lifecycle.NotFound, Code: lifecycle.CodeNotFound, Detail: "there is no such node; it may be forgotten already"}
}

func (v *visit) askForgetNode() error {
	n, err := v.registeredNode()
	if err != nil {
		return err
	}
	return v.confirmForget(http.StatusOK, NewForm(nil), n)
}

func (v *visit) confirmForget(status int, f *Form, n nodeRow) error {
	return v.confirm(status, confirmation{Form: f, Action: n.Path() + "/forget", Back: nodesPath, Danger: true,
		Title: "Forget the node " + n.Name, Label: "Forget it",
		Lead: "Started " + ago(n.StartedAt) + ", and last heard of " + ago(n.AppliedAt) + ".",
		Points: []string{"It leaves this list, and no change waits for it any more. It serves nothing that it knows: that is why it may be forgotten.",
			"If it comes back after all, it catches up with the key store before it serves, and is listed again."},
		Commands: v.commands(call{Method: http.MethodDelete, Path: "/v1/nodes/" + url.PathEscape(n.ID)}, "node", "forget", n.ID, "--yes")})
}

func (v *visit) forgetNode() error {
	f, err := v.form()
	if err != nil {
		return err
	}
	n, err := v.registeredNode()
	if err != nil {
		return err
	}
	commit, err := v.svc().ForgetNode(v.ctx(), v.actor, n.ID)
	if err != nil {
		status, err := f.refuseAsked(err, "node")
		if err != nil {
			return err
		}
		return v.confirmForget(status, f, n)
	}
	return v.nodesAnew("The node " + n.Name + " is forgotten." + propagation(commit))
}

// restoredStore is what there is to accept, for an actor who may.
func (v *visit) restoredStore() (*lifecycle.StoreRestored, error) {
	if err := v.svc().May(v.ctx(), v.actor, lifecycle.NeedsTo(policy.Update, lifecycle.ResourceNodes)); err != nil {
		return nil, err
	}
	me, err := v.me()
	if err != nil {
		return nil, err
	}
	return me.StoreRestored, nil
}

func (v *visit) askAcceptRestore() error {
	r, err := v.restoredStore()
	if err != nil {
		return err
	}
	if r == nil {
		return v.obstruct(http.StatusOK, obstacle{Title: "There is nothing to accept", Back: nodesPath,
			Lead: "The key store did not go back to an earlier state, or somebody has accepted that already."})
	}
	return v.confirmAccept(http.StatusOK, NewForm(nil), r)
}

func (v *visit) confirmAccept(status int, f *Form, r *lifecycle.StoreRestored) error {
	return v.confirm(status, confirmation{Form: f, Action: acceptRestorePath, Back: nodesPath, Danger: true,
		Title: "Accept the restored key store", Label: "Accept it",
		Lead: "On " + stamp(r.NoticedAt) + " the key store was found to have gone back: a node had seen revision " + number(int(r.From)) +
			" of what is lost, and it stood at " + number(int(r.To)) + ".",
		Points: []string{"What was made or changed since the backup is lost: keys made since are unknown, and settings are as they were. Look at the audit trail of then, where you have it.",
			"What had been revoked since stays revoked: it was revoked again, " + count(int64(r.Replayed), "thing") + " in all.",
			"From now on changes are possible again. If this is the wrong database, put the right one in its place instead."},
		Commands: v.commands(call{Method: http.MethodPost, Path: "/v1/nodes/accept-restore"}, "node", "accept-restore", "--yes")})
}

func (v *visit) acceptRestore() error {
	f, err := v.form()
	if err != nil {
		return err
	}
	r, err := v.restoredStore()
	if err != nil {
		return err
	}
	_, commit, err := v.svc().AcceptRestore(v.ctx(), v.actor)
	if err != nil {
		if codeOf(err) == lifecycle.CodeNotRestored || r == nil {
			return v.nodesAnew("There was nothing to accept any more.")
		}
		status, err := f.refuseAsked(err, "key store")
		if err != nil {
			return err
		}
		return v.confirmAccept(status, f, r)
	}
	return v.nodesAnew("The restored key store is accepted. Changes are possible again." + propagation(commit))
}
