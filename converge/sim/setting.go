package main

// setting is what one history is like.
type setting struct {
	regions, keys, parts int
	values               int  // other images than no row
	unique               int  // unique values that they have, 0 for no unique key
	writes               int  // transactions of applications
	perTxn               int  // rows of one, at most
	batch                int  // transactions of a batch, at most
	skew                 int  // ms that clocks differ and jump by
	crashes              int  // of apply, at most
	calm                 int  // writes before the first crash
	slow                 bool // applications write seldom
	policy               policy
	replay               bool
	evict                bool
	first                bool // written without a look at the row, as package apply does
	careful              bool // every change waits for the tail, and absent rows can be locked
	spills               bool // what the index knows is put on disk again and again
	broken               rule
}

// policy says which of concurrent writes wins.
type policy uint8

const (
	lastWriteWins  policy = iota
	regionPriority        // that of the first region
	newestColumn          // that of the greatest image
)

// pair reports whether a history is of package apply between two regions.
func (s *setting) pair() bool { return s.first && s.regions == 2 }

// rank is that of a write under the policy.
func (p policy) rank(region uint8, after image) int64 {
	switch p {
	case regionPriority:
		return -int64(region)
	case newestColumn:
		return int64(after)
	}
	return 0
}

// rule is one that a history may be made to break, to show that it is needed.
// It is broken by not doing what package converge asks for.
type rule uint8

const (
	none         rule = iota
	noOrigin          // versions of equal HLC are equal
	noTombstone       // a delete leaves no version
	noMarker          // a change that finds its own image writes no marker
	noAudit           // suspects aren't looked at
	noStability       // rows are forgotten at any time
	noPublishing      // a row that yields its unique value is deleted, and nobody told
	noLosers          // a change that was left out for its rank isn't noted
	noSettled         // what was settled before a crash isn't told
	noOwnMark         // what is settled is told by the other region's numbers alone, also while rows are put back
	noAhead           // it isn't remembered that a write had seen one that came later
	noHorizon         // after a restart no more is known again than was forgotten, of rows that go by ranks
	noNumber          // of rows that go by ranks a repair's marker has the number of a batch, among several sources
	noCarrier         // a deletion that a third region published, with another's version, is taken for that one's write
	noWaiting         // what comes in is written though it has seen what isn't here yet
	noTurns           // several streams make room at once, if none has a row that another has locked
	noRank            // of two regions' writes the greater version stays whatever its rank
)

var rules = map[rule]string{
	noOrigin: "ties broken by origin", noTombstone: "tombstone version", noMarker: "marker without rows",
	noAudit: "audit", noStability: "eviction only when stable", noPublishing: "published deletion of the unique loser",
	noLosers: "losers kept", noRank: "rank of concurrent writes",
}

// rulesOfThree are needed where three regions give unique values.
var rulesOfThree = map[rule]string{
	noCarrier: "telling who published a deletion", noWaiting: "waiting for what a change had seen of third regions", noTurns: "one stream at a time making room",
}

// draw makes a setting by chance.
func draw(pick chooser, broken rule) setting {
	s := setting{
		regions: 2 + pick.intn(3)*pick.intn(2), keys: 1 + pick.intn(3), parts: 1 + pick.intn(2), values: 1 + pick.intn(3),
		writes: 2 + pick.intn(5), perTxn: 1 + pick.intn(2), batch: 1 + pick.intn(3),
		skew: pick.intn(4), crashes: max(0, pick.intn(5)-2), replay: pick.intn(2) == 0, evict: pick.intn(2) == 0,
		broken: broken,
	}
	if pick.intn(3) == 0 {
		s.policy = policy(1 + pick.intn(2))
		s.first = true
	} else if pick.intn(2) == 0 {
		s.keys, s.values, s.unique = 2+pick.intn(2), 1+pick.intn(4), 1+pick.intn(3)
		s.first = true // as package apply does it
	}
	if pick.intn(8) == 0 {
		s.writes *= 3 // so that much is forgotten meanwhile
	}
	s.perTxn = min(s.perTxn, s.keys)
	s.first = s.first || (s.regions == 2 || s.unique == 0) && pick.intn(2) == 0
	s.replay = s.replay && !s.first
	s.spills = pick.intn(4) == 0
	return s
}
