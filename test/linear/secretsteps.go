package linear

import "slices"

// after is every state that a step can lead to, none if it cannot be taken.
func (s secretState) after(c SecretCall, step secretStep) []secretState {
	switch step.of {
	case seen:
		// The oldest view that answers so: from that, all newer ones can be had later on.
		for v := s.view[c.Gate]; v < len(s.values); v++ {
			if rights(s.values[v]).opens(c.Secret) == (c.Got == Let) {
				s.view[c.Gate] = v
				return []secretState{s}
			}
		}
		return nil
	case written:
		done := s.with(step.call, c)
		if c.Got == Open {
			return []secretState{s, done}
		}
		return []secretState{done}
	case known:
		at := s.at[step.call]
		if at == 0 {
			return nil
		}
		for g := range s.view {
			if g == c.Gate || c.Kind.taken() && !slices.Contains(c.Pending, g) {
				s.has(g, int(at-1), c.Kind.taken())
			}
		}
		return []secretState{s}
	case over:
		at := s.at[step.call]
		if at == 0 {
			return nil
		}
		for g := range s.view {
			s.has(g, int(at-1), c.Kind.taken())
		}
		return []secretState{s}
	default: // again
		s.view[c.Gate] = s.floor[c.Gate]
		return []secretState{s}
	}
}

// with is s once a write is in the store.
func (s secretState) with(call int, c SecretCall) secretState {
	s.values += string([]byte{byte(rights(s.values[len(s.values)-1]).with(c))})
	at := []byte(s.at)
	at[call] = byte(len(s.values))
	s.at = string(at)
	return s
}

// has lets a gate have a value, and for good where that is confirmed.
func (s *secretState) has(gate, value int, confirmed bool) {
	s.view[gate] = max(s.view[gate], value)
	if confirmed {
		s.floor[gate] = max(s.floor[gate], value)
	}
}

// trimmed forgets values that no gate can have any more, so that states that only differ in
// them are one.
func (s secretState) trimmed() secretState {
	oldest := min(slices.Min(s.view[:]), slices.Min(s.floor[:]))
	if oldest == 0 {
		return s
	}
	s.values = s.values[oldest:]
	for g := range s.view {
		s.view[g] -= oldest
		s.floor[g] -= oldest
	}
	at := []byte(s.at)
	for i, n := range at {
		if n > 0 {
			at[i] = byte(max(1, int(n)-oldest))
		}
	}
	s.at = string(at)
	return s
}
