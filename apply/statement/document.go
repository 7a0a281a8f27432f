package statement

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// checkDocument refuses a JSON text that MySQL's JSON type can't hold exactly.
// MariaDB keeps the text itself; MySQL keeps the last of several members of one
// name, integers of 64 bits, and every other number as a double.
func checkDocument(doc []byte) error {
	if !json.Valid(doc) {
		return errors.New("the text is not JSON, and the column is JSON here; mend: in the origin, ALTER TABLE … ADD CHECK (json_valid(…))")
	}
	d := json.NewDecoder(bytes.NewReader(doc))
	d.UseNumber()
	var names []map[string]bool // of the members read, by depth; nil for an array
	inName := false
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("reading JSON: %w", err)
		}
		if name, ok := token.(string); ok && inName {
			members := names[len(names)-1]
			if members[name] {
				return errors.New("the document has two members of one name, of which a JSON column keeps the last; mend: write it with one of them in the origin")
			}
			members[name], inName = true, false
			continue
		}
		switch v := token.(type) {
		case json.Delim:
			switch v {
			case '{':
				names = append(names, map[string]bool{})
			case '[':
				names = append(names, nil)
			default:
				names = names[:len(names)-1]
			}
		case json.Number:
			if !isHeld(string(v)) {
				return errors.New("the document has a number with more digits than a JSON column keeps; mend: write it with at most 17 digits, or as a string, in the origin")
			}
		}
		inName = len(names) > 0 && names[len(names)-1] != nil
	}
}

// isHeld reports whether MySQL keeps a JSON number: an integer of 64 bits, or
// a double whose shortest decimal form is that number.
func isHeld(number string) bool {
	if _, err := strconv.ParseInt(number, 10, 64); err == nil {
		return true
	}
	if _, err := strconv.ParseUint(number, 10, 64); err == nil {
		return true
	}
	f, err := strconv.ParseFloat(number, 64)
	return err == nil && decimal(number) == decimal(strconv.FormatFloat(f, 'e', -1, 64))
}

// decimal gives equal numbers equal texts: the digits between the zeros on
// both sides, and the power of ten of the last.
func decimal(number string) string {
	mantissa, power, _ := strings.Cut(strings.ToLower(number), "e")
	exponent, err := strconv.Atoi(power)
	if power != "" && err != nil {
		return number // it is no double either, unless it is 0
	}
	sign := ""
	if rest, ok := strings.CutPrefix(mantissa, "-"); ok {
		sign, mantissa = "-", rest
	}
	whole, fraction, _ := strings.Cut(mantissa, ".")
	digits := strings.TrimLeft(whole+fraction, "0")
	exponent -= len(fraction)
	kept := strings.TrimRight(digits, "0")
	if kept == "" {
		return sign + "0"
	}
	return fmt.Sprintf("%s%se%d", sign, kept, exponent+len(digits)-len(kept))
}
