package converge

import "duplex/change"

// Settle tells which row yields where one that is to be put, with version v,
// has a unique value that other rows hold: the older. If a holder is newer,
// yields is true, and the row is to be deleted, with the version given, instead of put;
// otherwise the holders are to be deleted, with v.
//
// The tail must have read what was in the binlog when the row and the holders
// were locked. A row that yields is deleted where it is there, and published as a change of this region with that
// version even where it isn't, in the same database transaction, and ahead of
// it in the topics. So all regions come to the same rows, whatever each saw in
// between: to them it is a write like any other. Rows that are put or
// marked in the same transaction hold nothing at first; they are settled one after
// another, oldest version first.
func (x *Index) Settle(v change.Version, holders []Key) (newest change.Version, yields bool) {
	for _, key := range holders {
		if k, known := x.Of(key); known && k.Version.Compare(v) > 0 && k.Version.Compare(newest) > 0 {
			newest, yields = k.Version, true
		}
	}
	return newest, yields
}

// Yielded notes the deletion of a row that yielded, as the tail reads that it
// was published. Whether there was a row, Echo or Local tells.
func (x *Index) Yielded(key Key, w Write) error {
	e, err := x.raise(key, w)
	if e == nil {
		return err
	}
	return x.suspect(e, key)
}
