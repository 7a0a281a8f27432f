package apply

import (
	"fmt"
	"strconv"
	"strings"
)

// Place is where a record stands.
type Place struct {
	Topic     string
	Partition int32
	Offset    int64
}

// String returns topic:partition:offset, as ParsePlace reads it.
func (p Place) String() string { return fmt.Sprintf("%s:%d:%d", p.Topic, p.Partition, p.Offset) }

// ParsePlace reads topic:partition:offset.
func ParsePlace(text string) (Place, error) {
	wrong := fmt.Errorf("%q is no record; mend: give topic:partition:offset, as duplex status shows it", text)
	parts := strings.Split(text, ":")
	if len(parts) != 3 || parts[0] == "" {
		return Place{}, wrong
	}
	partition, err := strconv.ParseInt(parts[1], 10, 32)
	if err != nil || partition < 0 {
		return Place{}, wrong
	}
	offset, err := strconv.ParseInt(parts[2], 10, 64)
	if err != nil || offset < 0 {
		return Place{}, wrong
	}
	return Place{parts[0], int32(partition), offset}, nil
}
