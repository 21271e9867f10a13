package keystore_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/keystore/storetest"
)

func TestOpeningThatFailsForAnotherReasonIsNotDeferred(t *testing.T) {
	wrong := errors.New("wrong password")
	_, err := keystore.OpenDeferred(t.Context(), keystore.DeferredOptions{Identity: "x", Logger: zap.NewNop(),
		Open: func(context.Context) (keystore.Store, error) { return nil, wrong }})
	require.ErrorIs(t, err, wrong)
}

func TestADeferredStoreIsAllThatTheStoreIsOnceItIsOpen(t *testing.T) {
	n := newNode(t, storetest.NewClock())
	inner := &waking{Store: n.reach(), wake: make(chan struct{}, 1)}
	up := make(chan struct{})
	d, err := keystore.OpenDeferred(t.Context(), keystore.DeferredOptions{Identity: inner.Identity(), Logger: zap.NewNop(),
		Open: func(context.Context) (keystore.Store, error) {
			select {
			case <-up:
				return inner, nil
			default:
				return nil, fmt.Errorf("%w: refused", keystore.ErrUnavailable)
			}
		}})
	require.NoError(t, err)
	wrapped := &struct{ keystore.Store }{d}
	_, found := keystore.As[*waking](wrapped.Store)
	require.False(t, found)
	require.True(t, d.Opening())
	_, err = d.Head(t.Context())
	require.ErrorIs(t, err, keystore.ErrUnavailable)
	d.SealAudit(storetest.NewSealer("other"))
	opened := d.Wake()
	close(up)
	<-opened
	require.False(t, d.Opening())
	_, found = keystore.As[*waking](wrapped.Store)
	require.True(t, found)
	inner.wake <- struct{}{}
	<-d.Wake()
	_, err = d.Update(t.Context(), func(tx keystore.Tx) error {
		return tx.AddAudit(t.Context(), &keystore.Audit{At: tx.Now().Wall, ActorKind: keystore.ActorSystem, Action: "x.y"})
	})
	require.NoError(t, err)
	require.NoError(t, d.Close())
	_, err = d.Head(t.Context())
	require.ErrorIs(t, err, keystore.ErrClosed)
}

func TestADeferredStoreThatNeverOpensIsClosed(t *testing.T) {
	d := newNode(t, storetest.NewClock()).lostAt("x")
	require.NoError(t, d.Close())
	_, err := d.Head(t.Context())
	require.ErrorIs(t, err, keystore.ErrClosed)
}
