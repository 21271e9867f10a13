package keystore

import (
	"net/netip"
	"reflect"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// filled sets every field of a struct to something that is not zero, and fails for a
// type that it does not know: a new field of a key must be thought of in the snapshot,
// where one that is left out is one that decides nothing after a restart.
func filled(t *testing.T, v reflect.Value, n *int64) {
	for i := range v.NumField() {
		f := v.Field(i)
		*n++
		switch f.Interface().(type) {
		case string:
			f.SetString("text " + time.Duration(*n).String())
		case bool:
			f.SetBool(true)
		case int64, Revision, time.Duration:
			f.SetInt(*n * 1_000_000_007)
		case time.Time:
			f.Set(reflect.ValueOf(time.Unix(1_700_000_000+*n, *n*1000).UTC()))
		case []netip.Prefix:
			f.Set(reflect.ValueOf([]netip.Prefix{netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("2001:db8::/32")}))
		case map[string]string:
			f.Set(reflect.ValueOf(map[string]string{"a": "1", "b": ""}))
		case [32]byte:
			f.Set(reflect.ValueOf([32]byte{byte(*n), 31: 0xff}))
		case []Secret:
			secrets := make([]Secret, 2)
			for i := range secrets {
				filled(t, reflect.ValueOf(&secrets[i]).Elem(), n)
			}
			f.Set(reflect.ValueOf(secrets))
		default:
			t.Fatalf("field %s of type %s: say how a snapshot keeps it", v.Type().Field(i).Name, f.Type())
		}
	}
}

// keyFields is a key of which every exported field is set.
func keyFields(t *testing.T) *Key {
	exported := reflect.VisibleFields(reflect.TypeFor[Key]())
	var fields []reflect.StructField
	for _, f := range exported {
		if f.IsExported() {
			fields = append(fields, f)
		}
	}
	v := reflect.New(reflect.StructOf(fields)).Elem()
	n := int64(0)
	filled(t, v, &n)
	k := &Key{}
	for i, f := range fields {
		reflect.ValueOf(k).Elem().FieldByName(f.Name).Set(v.Field(i))
	}
	return k
}

func TestASnapshotKeepsEveryFieldOfAKeyButItsLastUse(t *testing.T) {
	k := keyFields(t)
	p := packed{b: appendKey(nil, k), names: map[string]string{}}
	got := p.key()
	require.NoError(t, p.err)
	require.Empty(t, p.b)
	k.LastUsed, k.LastUsedAddress, k.LastUsedRoute = time.Time{}, "", ""
	for i := range k.Secrets {
		s := &k.Secrets[i]
		s.LastUsed, s.LastUsedAddress, s.Tried, s.TriedAddress = time.Time{}, "", time.Time{}, ""
	}
	require.Equal(t, k, got)
}

func TestAKeyReadBeforeAChangeIsNotInThePictureWhateverTheirOrder(t *testing.T) {
	key := func(tick int64) []byte {
		return appendCached([]byte{recordKeys}, &cachedKey{key: &Key{ID: "k", ClientID: "c", Enabled: true}, tick: tick})
	}
	change, err := encode(recordApplied, applied{Position: 9, Tick: 5, Clients: []string{"c"}})
	require.NoError(t, err)
	for name, test := range map[string]struct {
		records [][]byte
		known   bool
	}{
		"read before, written before": {[][]byte{key(4), change}, false},
		"read before, written behind": {[][]byte{change, key(4)}, false},
		"read behind":                 {[][]byte{change, key(5)}, true},
		"read behind, then before":    {[][]byte{change, key(5), key(4)}, true},
	} {
		p := newPicture(SnapshotHead{})
		for _, text := range test.records {
			require.NoError(t, p.add(text))
		}
		_, known := p.keys["c"]
		require.Equal(t, test.known, known, name)
	}
}

func TestAKeyThatIsCutShortIsNotRead(t *testing.T) {
	text := appendKey(nil, keyFields(t))
	for n := range text {
		p := packed{b: text[:n:n], names: map[string]string{}}
		p.key()
		require.Error(t, p.err, "%d of %d bytes", n, len(text))
	}
}
