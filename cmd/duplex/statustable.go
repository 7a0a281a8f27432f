package main

import (
	"errors"
	"fmt"
	"text/tabwriter"
	"time"

	"duplex/apply"
	"duplex/region"
	"duplex/supervise"
	"duplex/tasks"
)

// service is one service's line of the table.
type service struct {
	supervise.Status
	name     string
	lag, now string
	where    string
	rows     int64
	bytes    int64
	position string
}

func servicesOf(s region.Status) []service {
	var list []service
	if c := s.Capture; c != nil {
		list = append(list, service{Status: c.Status, name: "capture " + string(c.Region), lag: fmt.Sprintf("%d ms", c.LagMillis), now: "-", where: "-", rows: c.Rows + c.Applied, position: fmt.Sprintf("seq %d", c.Seq)})
	}
	for i := range s.Apply {
		a := &s.Apply[i]
		position := fmt.Sprintf("seq %d", a.Seq)
		if a.Ordering == tasks.OrderingKey {
			position = fmt.Sprintf("%d partitions, seq %d", a.Partitions, a.Seq)
		}
		p := &a.LagParts
		list = append(list, service{Status: a.Status, name: applyName(a), rows: a.Rows, bytes: a.Bytes, position: position,
			lag: fmt.Sprintf("%.0f / %.0f / %.0f ms", a.LagP50Millis, a.LagP95Millis, a.LagP99Millis), now: delayNow(a.Canary),
			where: fmt.Sprintf("%.0f + %.0f + %.0f ms", p.Capture.P50Millis, p.Kafka.P50Millis, p.Apply.P50Millis)})
	}
	return list
}

func applyName(a *apply.Status) string {
	return fmt.Sprintf("apply %s %s→%s", a.Task, a.Source, a.Target)
}

// beatSlack is how much older than its delay the last canary may be, as the next comes only then.
const beatSlack = 5000 // ms

// delayNow is the delay of now, as far as canaries tell.
func delayNow(c *apply.Canary) string {
	switch {
	case c == nil:
		return "-"
	case c.AgoMillis > c.DelayMillis+beatSlack:
		return fmt.Sprintf("over %s", (time.Duration(c.AgoMillis) * time.Millisecond).Round(time.Second))
	}
	return fmt.Sprintf("%.0f ms", c.DelayMillis)
}

// writeStatus shows how all are now, with rates since before.
func writeStatus(env *environment, before, now *asked) error {
	had := map[string]service{}
	for _, s := range before.all {
		for _, l := range servicesOf(s) {
			had[l.name] = l
		}
	}
	w := tabwriter.NewWriter(env.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "SERVICE\tSTATE\tFOR\tROWS/S\tBYTES/S\tLAG P50/95/99\tNOW\tCAPTURE+KAFKA+APPLY\tPOSITION\tREASON")
	for _, s := range now.all {
		for _, l := range servicesOf(s) {
			rows, bytes := "-", "-"
			if was, known := had[l.name]; known && l.rows >= was.rows { // fewer: it began anew
				seconds := now.at.Sub(before.at).Seconds()
				rows = fmt.Sprintf("%.0f", float64(l.rows-was.rows)/seconds)
				if l.bytes > 0 {
					bytes = inBytes(float64(l.bytes-was.bytes) / seconds)
				}
			}
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", l.name, l.State, now.at.Sub(l.Since).Round(time.Second), rows, bytes, l.lag, l.now, l.where, l.position, l.Error)
		}
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if list := tasksOf(now.all); len(list) > 0 {
		fmt.Fprintln(env.stdout)
		if err := writeTasks(env.stdout, list); err != nil {
			return err
		}
	}
	return errors.Join(writeTotals(env, now.all), writeCopies(env, now.all), writeSkipped(env, now.all))
}

// inBytes shows a number of bytes in three digits or so.
func inBytes(n float64) string {
	const unit = 1024
	for _, name := range []string{"B", "KiB", "MiB"} {
		if n < unit {
			return fmt.Sprintf("%.3g %s", n, name)
		}
		n /= unit
	}
	return fmt.Sprintf("%.3g GiB", n)
}

// writeTotals tells what services have done since their processes began.
func writeTotals(env *environment, all []region.Status) error {
	for _, s := range all {
		if c := s.Capture; c != nil {
			if _, err := fmt.Fprintf(env.stdout, "capture %s since its start: %d rows of its own application, %d that apply wrote here, %d statements on captured tables\n", c.Region, c.Rows, c.Applied, c.DDL); err != nil {
				return err
			}
		}
		for i := range s.Apply {
			a := &s.Apply[i]
			if _, err := fmt.Fprintf(env.stdout, "%s since its start: %d inserted, %d updated, %d deleted, %d copied; %d conflicts, %d won here; %d batches tried again; %d echoes left out\n",
				applyName(a), a.Inserts, a.Updates, a.Deletes, a.Copied, a.LocalWon+a.RemoteWon, a.LocalWon, a.Retries, a.Echoes); err != nil {
				return err
			}
		}
	}
	return nil
}

// writeCopies tells how far initial copies are.
func writeCopies(env *environment, all []region.Status) error {
	for _, s := range all {
		if s.Capture == nil || s.Capture.Copy == nil || s.Capture.Copy.State == "done" {
			continue
		}
		p := s.Capture.Copy
		left := "not known how long it still takes"
		if p.SecondsLeft >= 0 {
			left = fmt.Sprintf("about %s left", time.Duration(p.SecondsLeft)*time.Second)
		}
		if p.Error != "" {
			left = "it waits: " + p.Error
		}
		_, err := fmt.Fprintf(env.stdout, "capture %s: initial copy of %d tables: %d are done, %d of some %d rows, now %s; %s\n",
			s.Region, p.Tables, p.TablesDone, p.RowsDone, p.Rows, p.Table, left)
		if err != nil {
			return err
		}
	}
	return nil
}

// writeSkipped tells of transactions that were left out for good.
func writeSkipped(env *environment, all []region.Status) error {
	for _, s := range all {
		for i := range s.Apply {
			a := &s.Apply[i]
			for _, k := range a.Skipped {
				_, err := fmt.Fprintf(env.stdout, "apply %s %s→%s: %d transactions of %s were left out, of those from %d to %d, as confirmed on %s\n",
					a.Task, a.Source, a.Target, k.Transactions, k.Source, k.First, k.Last, k.At.Format(time.RFC3339))
				if err != nil {
					return err
				}
			}
		}
	}
	return nil
}
