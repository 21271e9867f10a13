package keystore

import (
	"maps"
	"sync"
	"sync/atomic"
)

// exactShards spreads copies on write; reads take no lock whatever the number.
const exactShards = 256

// exactMap is a map by id from which nothing is ever evicted, for what must not
// be forgotten under any flood: locks and revocations. Reading takes no lock and
// allocates nothing; writing copies one shard.
type exactMap[V any] struct {
	shards  [exactShards]exactShard[V]
	entries atomic.Int64 // over all shards: 0 is the common case
}

type exactShard[V any] struct {
	mu sync.Mutex // serialises writers
	m  atomic.Pointer[map[string]V]
}

func (e *exactMap[V]) shard(id string) *exactShard[V] {
	h := uint32(2166136261) // FNV-1a over the tail: ids are random there
	for i := max(0, len(id)-8); i < len(id); i++ {
		h = (h ^ uint32(id[i])) * 16777619
	}
	return &e.shards[h%exactShards]
}

// get is the value under id, if there is one.
func (e *exactMap[V]) get(id string) (v V, ok bool) {
	if e.entries.Load() == 0 {
		return v, false
	}
	m := e.shard(id).m.Load()
	if m == nil {
		return v, false
	}
	v, ok = (*m)[id]
	return v, ok
}

// change replaces the value under id by what fn makes of it; keep false removes it.
func (e *exactMap[V]) change(id string, fn func(old V, ok bool) (v V, keep bool)) {
	s := e.shard(id)
	s.mu.Lock()
	defer s.mu.Unlock()
	var m map[string]V
	if p := s.m.Load(); p != nil {
		m = *p
	}
	old, had := m[id]
	v, keep := fn(old, had)
	if !had && !keep {
		return
	}
	m = maps.Clone(m)
	if m == nil {
		m = make(map[string]V, 1)
	}
	switch {
	case !keep:
		delete(m, id)
		e.entries.Add(-1)
	default:
		m[id] = v
		if !had {
			e.entries.Add(1)
		}
	}
	s.m.Store(&m)
}

// sweep removes what fn says means nothing any more.
func (e *exactMap[V]) sweep(forget func(V) bool) {
	for i := range e.shards {
		p := e.shards[i].m.Load()
		if p == nil {
			continue
		}
		for id, v := range *p {
			if forget(v) {
				e.change(id, func(v V, ok bool) (V, bool) { return v, ok && !forget(v) })
			}
		}
	}
}

// all visits every value, without stopping writers.
func (e *exactMap[V]) all(yield func(V) bool) {
	for i := range e.shards {
		p := e.shards[i].m.Load()
		if p == nil {
			continue
		}
		for _, v := range *p {
			if !yield(v) {
				return
			}
		}
	}
}

// each is all with the ids.
func (e *exactMap[V]) each(yield func(string, V) bool) {
	for i := range e.shards {
		p := e.shards[i].m.Load()
		if p == nil {
			continue
		}
		for id, v := range *p {
			if !yield(id, v) {
				return
			}
		}
	}
}

// len counts the entries.
func (e *exactMap[V]) len() int { return int(e.entries.Load()) }
