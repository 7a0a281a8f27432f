package apply

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"duplex/change"
	"duplex/config"
	"duplex/spine"
	"duplex/supervise"
	"duplex/tasks"

	"github.com/go-sql-driver/mysql"
	"github.com/twmb/franz-go/pkg/kgo"
)

// What a person must mend stops the stream, but only once its transaction
// stands alone; what waiting mends never does.
func TestVerdict(t *testing.T) {
	duplicate := &mysql.MySQLError{Number: 1062, Message: "Duplicate entry 'secret@example.com' for key 'customer.email'"}
	deadlock := &mysql.MySQLError{Number: 1213, Message: "Deadlock found"}
	lost := mysql.ErrInvalidConn
	in := func(table string, err error) error { return &tableError{table, nil, err} }
	batchOf := func(n int, err error) error {
		return batchError(&batch{seq: 10, commits: make([]int64, n)}, err)
	}
	for _, tt := range []struct {
		name                 string
		err                  error
		permanent, carefully bool
	}{
		{"one transaction, duplicate key", batchOf(1, in("shop.customer", duplicate)), true, false},
		{"several transactions, duplicate key", batchOf(3, in("shop.customer", duplicate)), false, true},
		{"one transaction, deadlock", batchOf(1, in("shop.customer", deadlock)), false, false},
		{"several, deadlock", batchOf(3, in("shop.customer", deadlock)), false, false},
		{"connection lost", batchOf(1, in("shop.customer", lost)), false, false},
		{"fenced", batchOf(1, errFenced), false, false},
		{"fenced with several", batchOf(3, errFenced), false, false},
		{"several, one of which is permanently unfit", batchOf(3, supervise.Permanent(errors.New("no such table"))), false, true},
		{"one, permanently unfit", batchOf(1, supervise.Permanent(errors.New("no such table"))), true, false},
		{"outside of a batch", errors.New("kafka went away"), false, false},
		{"outside of a batch, permanent", supervise.Permanent(errors.New("no such table")), true, false},
		{"the end of the process", context.Canceled, false, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			final, carefully := verdict(tt.err)
			if supervise.IsPermanent(final) != tt.permanent || carefully != tt.carefully {
				t.Errorf("permanent %t, carefully %t: %v", supervise.IsPermanent(final), carefully, final)
			}
			if !errors.Is(final, tt.err) {
				t.Errorf("the cause is lost: %v", final)
			}
			if strings.Contains(fmt.Sprint(final), "secret@example.com") {
				t.Errorf("a row value is in the message: %v", final)
			}
		})
	}
}

// The message says which transactions and which table.
func TestBatchFailureSaysWhere(t *testing.T) {
	err := &tableError{"shop.customer", []string{"id"}, &mysql.MySQLError{Number: 1062, Message: "Duplicate entry 'x' for key 'email'"}}
	for _, tt := range []struct {
		n    int
		want []string
	}{
		{1, []string{"transaction 10 ", "shop.customer", "1062"}},
		{4, []string{"transactions 7 to 10 ", "shop.customer (key `id`)", "1062", "mend: look in this region"}},
	} {
		got := batchError(&batch{seq: 10, commits: make([]int64, tt.n)}, err).Error()
		for _, w := range tt.want {
			if !strings.Contains(got, w) {
				t.Errorf("of %d transactions: %q lacks %q", tt.n, got, w)
			}
		}
	}
	unknown := batchError(&batch{seq: 10, commits: make([]int64, 1)}, &tableError{"shop.customer", []string{"id"}, &mysql.MySQLError{Number: 9999, Message: "something new"}})
	if !strings.Contains(unknown.Error(), "mend: make the table as") {
		t.Errorf("%q tells no mend", unknown)
	}
	var f *batchFailure
	if !errors.As(batchError(&batch{seq: 10, commits: make([]int64, 4)}, err), &f) || f.first != change.Seq(7) {
		t.Error("the first transaction isn't told")
	}
}

// The reason to stop ends with how the stream goes on.
func TestWithMend(t *testing.T) {
	st := New(Config{Process: &config.Process{Region: "west"}, Spec: &tasks.Spec{Task: "shop"}, Source: "east", Log: slog.New(slog.DiscardHandler)})
	record := spine.Unreadable(&kgo.Record{Topic: "east.shop.t", Partition: 3, Offset: 17}, errors.New("cut off"))
	for _, tt := range []struct {
		err  error
		want []string
	}{
		{&spine.GapError{Source: "east", Text: "7 follows 5"}, []string{"--group duplex.shop.east-to-west --reset-offsets --to-latest", "seq = <the seq of capture east in duplex status> WHERE task = 'shop' AND origin = 'east'", "; and duplex resume -c <process file of west> --task shop"}},
		{record, []string{"east.shop.t:3:17: cut off; mend:", "duplex resume -c <process file of west> --task shop --pass east.shop.t:3:17"}},
	} {
		got := st.withMend(supervise.Permanent(tt.err))
		for _, w := range tt.want {
			if !strings.Contains(got.Error(), w) || strings.Contains(got.Error(), "%!") {
				t.Errorf("%q lacks %q", got, w)
			}
		}
		if !supervise.IsPermanent(got) {
			t.Errorf("%v isn't permanent any more", got)
		}
	}
}

func TestParsePlace(t *testing.T) {
	want := Place{"east.shop.t", 3, 17}
	if got, err := ParsePlace(want.String()); got != want || err != nil {
		t.Errorf("%v, %v", got, err)
	}
	for _, text := range []string{"", "t", "t:1", "t:1:2:3", ":1:2", "t:x:2", "t:1:x", "t:-1:2", "t:1:-2", "t:9999999999:1"} {
		if got, err := ParsePlace(text); err == nil || !strings.Contains(err.Error(), "mend:") {
			t.Errorf("%q is %v, %v", text, got, err)
		}
	}
}
