package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"os"
)

// totals is what the program keeps: the totals, and up to which place in the
// stream they count.
type totals struct {
	Offset int64             `json:"offset"`
	Tables map[string]*total `json:"tables"`
}

// total is that of one table.
type total struct {
	Rows    int64  `json:"rows"`
	Changes int64  `json:"changes"`
	Sum     string `json:"sum"`

	sum big.Rat
}

func (t *totals) table(name string) *total {
	if t.Tables[name] == nil {
		t.Tables[name] = &total{}
	}
	return t.Tables[name]
}

// load reads the file, which isn't there at the first start.
func load(file string) (*totals, error) {
	t := &totals{Offset: -1, Tables: map[string]*total{}}
	text, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return t, nil
	}
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(text, t); err != nil {
		return nil, fmt.Errorf("reading %s: %w", file, err)
	}
	for name, total := range t.Tables {
		if _, ok := total.sum.SetString(total.Sum); !ok {
			return nil, fmt.Errorf("reading %s: the sum of %s is no number", file, name)
		}
	}
	return t, nil
}

// save replaces the file at once, so that a crash leaves the old or the new.
func (t *totals) save(file string) error {
	for _, total := range t.Tables {
		total.Sum = total.sum.RatString()
	}
	text, err := json.MarshalIndent(t, "", "  ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(file+".new", append(text, '\n'), 0o600); err != nil {
		return err
	}
	return os.Rename(file+".new", file)
}
