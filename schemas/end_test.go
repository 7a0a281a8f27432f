package schemas

import (
	"bytes"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/linkedin/goavro/v2"
	"pgregory.net/rapid"

	"duplex/change"
)

func drawEnd(t *rapid.T) *End {
	long := rapid.Int64()
	e := &End{ID: rapid.String().Draw(t, "id"), Events: long.Draw(t, "events"), Millis: long.Draw(t, "millis"), CommitMicros: long.Draw(t, "commit"),
		Canary: rapid.SampledFrom([]string{"", "token"}).Draw(t, "canary"),
		Stamp:  change.Stamp{Origin: "east", Seq: change.Seq(long.Draw(t, "seq")), HLC: change.HLC(long.Draw(t, "hlc"))}}
	for i := range rapid.IntRange(0, 4).Draw(t, "collections") {
		e.Collections = append(e.Collections, CollectionCount{fmt.Sprintf("shop.t%d", i), long.Draw(t, "count")})
	}
	e.Stamp.Task = rapid.SampledFrom([]string{"", "shop"}).Draw(t, "task")
	for i := range rapid.IntRange(0, 5).Draw(t, "seen") {
		e.Stamp.Seen = e.Stamp.Seen.With(change.Region(fmt.Sprintf("r%d", i/2)), rapid.SampledFrom([]string{"", "crm", "shop"}).Draw(t, "of"), change.Seq(long.Draw(t, "seq")))
	}
	for i := range rapid.IntRange(0, 6).Draw(t, "partitions") {
		e.Partitions = append(e.Partitions, PartitionCount{fmt.Sprintf("east.shop.t%d", i/2), int32(i), rapid.Int64Min(1).Draw(t, "count")})
	}
	return e
}

func nativeEnd(e *End) map[string]any {
	collections, seen, partitions, byTask := []any{}, []any{}, []any{}, []any{}
	for _, c := range e.Collections {
		collections = append(collections, map[string]any{"event.collection": map[string]any{"data_collection": c.Name, "event_count": c.Count}})
	}
	for _, s := range e.Stamp.Seen.Regions() {
		seen = append(seen, map[string]any{"region": string(s.Region), "seq": int64(s.Seq)})
	}
	for _, s := range e.Stamp.Seen {
		byTask = append(byTask, map[string]any{"region": string(s.Region), "task": s.Task, "seq": int64(s.Seq)})
	}
	for _, p := range e.Partitions {
		partitions = append(partitions, map[string]any{"topic": p.Topic, "partition": p.Partition, "count": p.Count})
	}
	return map[string]any{"status": "END", "id": e.ID, "event_count": map[string]any{"long": e.Events}, "data_collections": map[string]any{"array": collections},
		"ts_ms": e.Millis, "origin": string(e.Stamp.Origin), "seq": int64(e.Stamp.Seq), "hlc": int64(e.Stamp.HLC), "seen": seen, "partitions": partitions,
		"ts_us": e.CommitMicros, "canary": optionalNative("string", e.Canary), "task": optionalNative("string", e.Stamp.Task), "seen_by_task": byTask}
}

func TestEndAgainstGoavro(t *testing.T) {
	codec, err := goavro.NewCodec(EndSchema)
	if err != nil {
		t.Fatal(err)
	}
	reader, into := &EndReader{}, &End{} // kept, as apply keeps them
	rapid.Check(t, func(t *rapid.T) {
		e := drawEnd(t)
		got := AppendEnd(nil, e)
		want, err := codec.BinaryFromNative(nil, nativeEnd(e))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Fatalf("\n got %x\nwant %x", got, want)
		}
		if err := reader.Read(got, into); err != nil {
			t.Fatal(err)
		}
		if fmt.Sprintf("%+v", *into) != fmt.Sprintf("%+v", *e) {
			t.Fatalf("\n got %+v\nwant %+v", *into, *e)
		}
		before := len(got) - (len(tasksOf(e)))
		for i := range got {
			if err := ReadEnd(got[:i:i], &End{}); err == nil && i != before {
				t.Fatalf("the first %d of %d bytes are taken for a whole record", i, len(got))
			}
		}
		// Of when there was no more than one task.
		if err := ReadEnd(got[:before:before], into); err != nil || !slices.Equal(into.Stamp.Seen, e.Stamp.Seen.Regions()) || into.Stamp.Task != "" {
			t.Fatalf("without tasks it is read as %+v, %v", into.Stamp, err)
		}
	})
}

// tasksOf is what a record of e has since there is more than one task.
func tasksOf(e *End) []byte {
	whole := AppendEnd(nil, e)
	none := *e
	none.Stamp.Task, none.Stamp.Seen = "", nil
	before := len(AppendEnd(nil, &none)) - 2 // a null and an empty array, and seen is another one
	return whole[before-1+len(appendSeen(nil, e.Stamp.Seen)):]
}

func FuzzReadEnd(f *testing.F) {
	codec, err := goavro.NewCodec(EndSchema)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(AppendEnd(nil, &End{ID: "u:1", Events: 2, Collections: []CollectionCount{{"d.t", 2}}, Partitions: []PartitionCount{{"east.d.t", 1, 2}},
		Stamp: change.Stamp{Origin: "east", Seq: 1, HLC: 5, Seen: change.Seen{{Region: "west", Seq: 3}}}, Canary: "x"}))
	f.Fuzz(func(t *testing.T, data []byte) {
		var e End
		if ReadEnd(data, &e) != nil {
			return
		}
		if _, rest, err := codec.NativeFromBinary(data); err != nil || len(rest) > 0 {
			t.Fatalf("goavro leaves %d bytes, error %v", len(rest), err)
		}
		var again End
		if err := ReadEnd(AppendEnd(nil, &e), &again); err != nil || !reflect.DeepEqual(e.Partitions, again.Partitions) || e.Stamp.Seq != again.Stamp.Seq {
			t.Fatalf("%+v becomes %+v, %v", e, again, err)
		}
	})
}

func TestHostileEnd(t *testing.T) {
	head := AppendString(nil, "END")
	head = AppendString(head, "id")
	head = append(head, 0, 2) // no event count, an array of collections
	huge := AppendLong(head[:len(head):len(head)], 1<<40)
	if err := ReadEnd(huge, &End{}); err == nil {
		t.Error("an array of 2^40 items in no bytes is taken")
	}
	for _, e := range []*End{
		{Partitions: []PartitionCount{{"t", -1, 1}}},
		{Partitions: []PartitionCount{{"t", 0, 0}}},
		{Stamp: change.Stamp{Seen: change.Seen{{Region: "b", Seq: 1}, {Region: "a", Seq: 1}}}},
	} {
		if err := ReadEnd(AppendEnd(nil, e), &End{}); err == nil {
			t.Errorf("%+v is taken", e)
		}
	}
	if err := ReadEnd(AppendString(nil, "BEGIN"), &End{}); err == nil || !strings.Contains(err.Error(), "BEGIN") {
		t.Errorf("status BEGIN: %v", err)
	}
}

func TestEndAllocates(t *testing.T) {
	e := &End{ID: "u:1", Collections: []CollectionCount{{"d.t", 2}}, Partitions: []PartitionCount{{"east.d.t", 1, 2}}, Stamp: change.Stamp{Origin: "east", Seen: change.Seen{{Region: "west", Seq: 3}}}}
	var buf []byte
	if n := testing.AllocsPerRun(100, func() { buf = AppendEnd(buf[:0], e) }); n != 0 {
		t.Errorf("AppendEnd allocates %g times", n)
	}
	r, into := &EndReader{}, &End{}
	n := testing.AllocsPerRun(100, func() {
		if err := r.Read(buf, into); err != nil {
			t.Fatal(err)
		}
	})
	if n > 2 { // the id and Seen
		t.Errorf("Read allocates %g times", n)
	}
}

func TestPosition(t *testing.T) {
	codec, err := NewPositionCodec()
	if err != nil {
		t.Fatal(err)
	}
	want := &Position{Engine: "mysql", Text: "uuid:1-5", Seq: 7, HLC: 1 << 61, Seen: change.Seen{{Region: "a", Seq: 1}, {Region: "b", Task: "crm", Seq: 2}, {Region: "b", Task: "shop", Seq: 3}}, UpdatedMillis: 5, Version: "1"}
	data, err := codec.Append([]byte("head"), want)
	if err != nil {
		t.Fatal(err)
	}
	got, err := codec.Read(PositionSchema, data[4:])
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v, want %+v", got, err, want)
	}
	if _, err := codec.Read(PositionSchema, append(data[4:], 0)); err == nil {
		t.Error("a byte after the position is taken")
	}
	for i := range data[4:] {
		if _, err := codec.Read(PositionSchema, data[4:4+i]); err == nil {
			t.Errorf("the first %d bytes are taken for a position", i)
		}
	}
	// Of when there was no more than one task.
	before := strings.Replace(PositionSchema, seenByTask, "", 1)
	old, err := goavro.NewCodec(before)
	if err != nil {
		t.Fatal(err)
	}
	data, err = old.BinaryFromNative(nil, map[string]any{"engine": "mysql", "position": "uuid:1-5", "seq": int64(7), "hlc": int64(1 << 61),
		"seen": []any{map[string]any{"region": "a", "seq": int64(1)}, map[string]any{"region": "b", "seq": int64(3)}}, "updated_ms": int64(5), "version": "1"})
	if err != nil {
		t.Fatal(err)
	}
	want.Seen = change.Seen{{Region: "a", Seq: 1}, {Region: "b", Seq: 3}}
	if got, err := codec.Read(before, data); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v, want %+v", got, err, want)
	}
	if _, err := codec.Read(EndSchema, data); err == nil {
		t.Error("a record of another schema is taken for a position")
	}
}

func TestCheckSchema(t *testing.T) {
	spaced := strings.ReplaceAll(EndSchema, ",", " ,\n")
	if err := CheckEndSchema(spaced); err != nil {
		t.Error(err)
	}
	if err := CheckEndSchema(strings.Replace(EndSchema, endOfTasks, "", 1)); err != nil {
		t.Error(err)
	}
	if err := CheckEndSchema(strings.Replace(EndSchema, `"ts_us"`, `"ts_ns"`, 1)); err == nil {
		t.Error("another schema is taken for that of END records")
	}
}
