package converge

import "unsafe"

// shard is a part of an Index: a hash table that the garbage collector has
// little to look at in, which grows by small pages that stay where they are.
//
// A search looks at one run of slots and, of those whose tag is the key's, at the
// entry: with an index that no cache holds, each is a miss, and misses are all
// that it costs.
type shard struct {
	slots []uint32 // tag<<16 | 1 + the place of an entry, 0 for none; a power of two
	pages []*page  // all full but the last
	n     int      // entries
	// listed is how many of them are suspects.
	listed int
}

// page is as large as a size that Go's allocator gives out.
type page [pageEntries]entry

// entry is what is known of one row.
type entry struct {
	key    Key
	hlc    int64
	seq    int64
	digest Digest
	last   Digest
	place  Place
	at     Pos
	// longer is for how much longer than its HLC says it is remembered, in units of 1<<longerShift.
	longer uint32
	origin uint8
	flags  uint8
}

// longerShift makes about a second of an HLC, so that longer holds a lifetime.
const longerShift = 30

// until is the HLC up to which all must be forgotten before it is.
func (e *entry) until() int64 { return e.hlc + int64(e.longer)<<longerShift }

// outlive has it remembered until all up to an HLC is forgotten.
func (e *entry) outlive(hlc int64) {
	if more := hlc - e.until(); more > 0 {
		e.longer += uint32((more + 1<<longerShift - 1) >> longerShift)
	}
}

// age is what decides whether it may be forgotten.
func (e *entry) age() age { return age{e.until(), e.at} }

const (
	lastRead  uint8 = 1 << iota // last is known
	suspect                     // the last image isn't that of the newest version
	listed                      // it is one of the index's suspects
	overtaken                   // of Rivals: another region's write had seen this one
)

const (
	pageEntries = 32
	pageBytes   = int64(unsafe.Sizeof(page{}))
	slotBytes   = int64(unsafe.Sizeof(uint32(0)))
	pointer     = int64(unsafe.Sizeof(uintptr(0)))
	fewest      = 8         // slots of a shard in use
	most        = 1<<16 - 1 // entries of a shard: a slot has 16 bits for one
	tagMask     = 0xffff << 16
)

// bytes returns how much memory the shard takes, besides itself.
func (s *shard) bytes() int64 {
	return int64(cap(s.slots))*slotBytes + int64(cap(s.pages))*pointer + int64(len(s.pages))*pageBytes
}

// growth returns how many bytes more the shard takes with one more entry.
func (s *shard) growth() (more int64) {
	if s.n == len(s.pages)*pageEntries {
		more = pageBytes + int64(roomFor(cap(s.pages), len(s.pages)+1)-cap(s.pages))*pointer
	}
	return more + int64(slotsFor(len(s.slots), s.n+1)-len(s.slots))*slotBytes
}

// roomFor returns the capacity, of n things, of which one that has capacity had
// and lacks room for more must have.
func roomFor(had, n int) int {
	if n <= had {
		return had
	}
	return max(n, had+had/4)
}

// slotsFor returns how many slots n entries have.
func slotsFor(had, n int) int {
	for had*4 < n*5 || had < fewest {
		had = max(fewest, had*2)
	}
	return had
}

// entry returns the one at a place.
func (s *shard) entry(place int) *entry { return &s.pages[place/pageEntries][place%pageEntries] }

// find returns the entry of a key, nil if there is none. It is good until the
// next is added.
func (s *shard) find(key Key) *entry {
	if len(s.slots) == 0 {
		return nil
	}
	tag := key.tag()
	for i := s.first(key); s.slots[i] != 0; i = s.after(i) {
		if slot := s.slots[i]; slot&tagMask == tag {
			if e := s.entry(int(slot&^tagMask - 1)); e.key == key {
				return e
			}
		}
	}
	return nil
}

// tag is the part of a key that a slot has.
func (k Key) tag() uint32 { return uint32(k.B) & tagMask }

// first returns the slot where the search for a key begins. The upper bits
// have chosen the shard.
func (s *shard) first(key Key) int { return int(key.A & uint64(len(s.slots)-1)) }
func (s *shard) after(i int) int   { return (i + 1) & (len(s.slots) - 1) }

// add adds an entry for a key that has none.
func (s *shard) add(key Key) *entry {
	if n := slotsFor(len(s.slots), s.n+1); n > len(s.slots) {
		s.rehash(n)
	}
	if s.n == len(s.pages)*pageEntries {
		if room := roomFor(cap(s.pages), len(s.pages)+1); room > cap(s.pages) {
			s.pages = append(make([]*page, 0, room), s.pages...)
		}
		s.pages = append(s.pages, new(page))
	}
	e := s.entry(s.n)
	s.n++
	*e = entry{key: key}
	s.take(key, s.n)
	return e
}

func (s *shard) take(key Key, place int) {
	i := s.first(key)
	for s.slots[i] != 0 {
		i = s.after(i)
	}
	s.slots[i] = key.tag() | uint32(place)
}

// rehash gives the shard n slots.
func (s *shard) rehash(n int) {
	if n == len(s.slots) {
		clear(s.slots)
	} else {
		s.slots = make([]uint32, n)
	}
	for i := range s.n {
		s.take(s.entry(i).key, i+1)
	}
}

// keep leaves only the entries that are wanted, in no more pages than they need.
func (s *shard) keep(wanted func(*entry) bool) {
	n := 0
	for i := range s.n {
		e := s.entry(i)
		if !wanted(e) {
			continue
		}
		if n < i {
			*s.entry(n) = *e
		}
		n++
	}
	if n == s.n {
		return
	}
	if s.n = n; n == 0 {
		*s = shard{}
		return
	}
	pages := (n + pageEntries - 1) / pageEntries
	clear(s.pages[pages:])
	s.pages = s.pages[:pages]
	s.rehash(slotsFor(0, n))
}
