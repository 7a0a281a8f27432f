package embedded

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
)

// The broker keeps the state of producers, and of groups, in logs of framed
// entries: length (4 bytes), CRC-32C (4), version (2), JSON; little-endian; the
// length and the sum cover version and JSON.
const (
	frameHeaderSize = 10
	frameVersion    = 1
)

// producer is the newest entry about one producer id.
type producer struct {
	Type    string `json:"type"`
	PID     int64  `json:"pid"`
	Epoch   int16  `json:"epoch"`
	TxID    string `json:"txid,omitempty"`
	Timeout int32  `json:"timeout,omitempty"` // milliseconds
	Commit  *bool  `json:"commit,omitempty"`  // how its last transaction ended
}

// producerLog is the broker's log of producers.
type producerLog struct {
	path  string
	byPID map[int64]producer
}

func readProducers(path string) (*producerLog, error) {
	entries, err := readFrames(path)
	if err != nil {
		return nil, err
	}
	l := &producerLog{path: path, byPID: map[int64]producer{}}
	for _, data := range entries {
		var p producer
		if err := json.Unmarshal(data, &p); err != nil {
			return nil, fmt.Errorf("decoding entry of %s: %w", path, err)
		}
		if p.Type == "init" {
			l.byPID[p.PID] = p
			continue
		}
		known := l.byPID[p.PID]
		known.PID, known.Epoch, known.Commit = p.PID, p.Epoch, p.Commit
		l.byPID[p.PID] = known
	}
	return l, nil
}

// finish notes that a producer's transaction of an epoch has ended, as the
// broker would have: the producer goes on with the next epoch, and whoever
// still uses the old one is refused, or told that it has ended if he asks for
// just that end again.
func (l *producerLog) finish(pid int64, epoch int16, commit bool) error {
	p, ok := l.byPID[pid]
	if !ok || p.TxID == "" || p.Epoch > epoch {
		return nil
	}
	p.Type, p.Epoch, p.Commit = "init", epoch+1, &commit
	data, err := json.Marshal(p)
	if err != nil {
		return fmt.Errorf("encoding producer: %w", err)
	}
	if err := appendTo(l.path, frame(data)); err != nil {
		return fmt.Errorf("writing producer: %w", err)
	}
	l.byPID[pid] = p
	return nil
}

func frame(data []byte) []byte {
	raw := make([]byte, frameHeaderSize, frameHeaderSize+len(data))
	raw = append(raw, data...)
	le := binary.LittleEndian
	le.PutUint32(raw, uint32(2+len(data)))
	le.PutUint16(raw[8:], frameVersion)
	le.PutUint32(raw[4:], crc32.Checksum(raw[8:], crc32.MakeTable(crc32.Castagnoli)))
	return raw
}

// readFrames returns the entries of a log, nil if there is none. What a crash
// left half written at its end is cut off: the broker would skip it, but then
// also everything that it writes after it.
func readFrames(path string) ([][]byte, error) {
	raw, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	le := binary.LittleEndian
	var entries [][]byte
	at := 0
	for at+frameHeaderSize <= len(raw) {
		end := at + 8 + int(le.Uint32(raw[at:]))
		if end < at+frameHeaderSize || end > len(raw) || le.Uint32(raw[at+4:]) != crc32.Checksum(raw[at+8:end], crc32.MakeTable(crc32.Castagnoli)) {
			break
		}
		entries = append(entries, raw[at+frameHeaderSize:end])
		at = end
	}
	if at == len(raw) {
		return entries, nil
	}
	return entries, os.Truncate(path, int64(at))
}
