package converge

import (
	"encoding/binary"
	"hash/maphash"
	"unsafe"
)

// shard is a part of an Index: a hash table without pointers, so that the
// garbage collector has nothing to look at, which grows in small steps.
type shard struct {
	slots   []uint32 // 1 + the place of an entry, 0 for none; a power of two
	entries []entry
	keys    []byte // of the entries, each after its length
}

// entry is what is known of one row.
type entry struct {
	hlc    int64
	seq    int64
	digest Digest
	last   Digest
	place  Place
	at     Pos
	key    uint32 // where its length stands in keys
	origin uint8
	flags  uint8
}

const (
	lastRead uint8 = 1 << iota // last is known
	suspect                    // the last image isn't that of the newest version
	listed                     // it is one of the index's suspects
)

const (
	entryBytes = int64(unsafe.Sizeof(entry{}))
	slotBytes  = int64(unsafe.Sizeof(uint32(0)))
	fewest     = 8 // entries of a shard in use
)

// bytes returns how much memory the shard takes, besides itself.
func (s *shard) bytes() int64 {
	return int64(cap(s.slots))*slotBytes + int64(cap(s.entries))*entryBytes + int64(cap(s.keys))
}

// roomFor returns the capacity, of n things, of which one that has capacity had
// and lacks room for more must have. It grows by an eighth: doubling would leave
// a quarter of the memory unused.
func roomFor(had, n int) int {
	if n <= had {
		return had
	}
	return max(n, had+had/8, fewest)
}

// slotsFor returns how many slots n entries have.
func slotsFor(had, n int) int {
	for had*4 < n*5 || had < fewest {
		had = max(fewest, had*2)
	}
	return had
}

func keyRoom(key int) int {
	n := 1
	for x := key; x >= 0x80; x >>= 7 {
		n++
	}
	return n + key
}

// growth returns how many bytes more the shard takes with one more key of that
// length.
func (s *shard) growth(key int) int64 {
	return int64(slotsFor(len(s.slots), len(s.entries)+1)-len(s.slots))*slotBytes +
		int64(roomFor(cap(s.entries), len(s.entries)+1)-cap(s.entries))*entryBytes +
		int64(roomFor(cap(s.keys), len(s.keys)+keyRoom(key))-cap(s.keys))
}

func (s *shard) keyOf(e *entry) []byte {
	n, w := binary.Uvarint(s.keys[e.key:])
	from := int(e.key) + w
	return s.keys[from : from+int(n)]
}

// find returns the entry of a key, nil if there is none. It is good until the
// next is added.
func (s *shard) find(hash uint64, key []byte) *entry {
	if len(s.slots) == 0 {
		return nil
	}
	for i := s.first(hash); s.slots[i] != 0; i = s.after(i) {
		if e := &s.entries[s.slots[i]-1]; string(s.keyOf(e)) == string(key) {
			return e
		}
	}
	return nil
}

// first returns the slot where the search for a hash begins. The upper bits
// have chosen the shard.
func (s *shard) first(hash uint64) int { return int(hash & uint64(len(s.slots)-1)) }
func (s *shard) after(i int) int       { return (i + 1) & (len(s.slots) - 1) }

// add adds an entry for a key that has none.
func (s *shard) add(seed maphash.Seed, hash uint64, key []byte) *entry {
	if n := slotsFor(len(s.slots), len(s.entries)+1); n > len(s.slots) {
		s.rehash(seed, n)
	}
	s.entries = withRoom(s.entries, 1)
	s.keys = withRoom(s.keys, keyRoom(len(key)))
	s.entries = append(s.entries, entry{key: uint32(len(s.keys))})
	s.keys = append(binary.AppendUvarint(s.keys, uint64(len(key))), key...)
	s.take(hash, len(s.entries))
	return &s.entries[len(s.entries)-1]
}

// withRoom returns list with room for n more.
func withRoom[T any](list []T, n int) []T {
	if room := roomFor(cap(list), len(list)+n); room > cap(list) {
		return append(make([]T, 0, room), list...)
	}
	return list
}

func (s *shard) take(hash uint64, place int) {
	i := s.first(hash)
	for s.slots[i] != 0 {
		i = s.after(i)
	}
	s.slots[i] = uint32(place)
}

// rehash gives the shard n slots.
func (s *shard) rehash(seed maphash.Seed, n int) {
	s.slots = make([]uint32, n)
	for i := range s.entries {
		s.take(maphash.Bytes(seed, s.keyOf(&s.entries[i])), i+1)
	}
}

// keep leaves only the entries that are wanted, in no more memory than they need.
func (s *shard) keep(seed maphash.Seed, wanted func(*entry) bool) {
	n, keys := 0, 0
	for i := range s.entries {
		if e := &s.entries[i]; wanted(e) {
			n, keys = n+1, keys+keyRoom(len(s.keyOf(e)))
		}
	}
	if n == len(s.entries) {
		return
	}
	if n == 0 {
		*s = shard{}
		return
	}
	left := shard{entries: make([]entry, 0, max(n, fewest)), keys: make([]byte, 0, keys)}
	for i := range s.entries {
		if e := s.entries[i]; wanted(&e) {
			key := s.keyOf(&e)
			e.key = uint32(len(left.keys))
			left.entries = append(left.entries, e)
			left.keys = append(binary.AppendUvarint(left.keys, uint64(len(key))), key...)
		}
	}
	left.rehash(seed, slotsFor(0, n))
	*s = left
}
