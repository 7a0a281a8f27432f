package apply

// locks are what the rows of one batch may clash over with those of another,
// as hashes: primary keys, and unique values before and after. Rows that have
// one in common, be it by way of others, are a group: one may need the value
// that another gives up, so a group is written as one.
type locks struct {
	index  map[uint64]int32
	hashes []uint64
	parent []int32 // a forest, whose trees are the groups
}

func newLocks(room int) locks {
	return locks{index: make(map[uint64]int32, room), hashes: make([]uint64, 0, room), parent: make([]int32, 0, room)}
}

// add notes a lock and returns its number, the same for the same hash.
func (l *locks) add(hash uint64) int32 {
	if i, ok := l.index[hash]; ok {
		return i
	}
	i := int32(len(l.hashes))
	l.index[hash] = i
	l.hashes, l.parent = append(l.hashes, hash), append(l.parent, i)
	return i
}

// join puts two locks into one group.
func (l *locks) join(a, b int32) { l.parent[l.group(a)] = l.group(b) }

// group returns the number of the lock that stands for the group of lock i. It
// changes as groups are joined.
func (l *locks) group(i int32) int32 {
	for l.parent[i] != i {
		l.parent[i] = l.parent[l.parent[i]] // halves the path: the next look-up is shorter
		i = l.parent[i]
	}
	return i
}
