package region

import (
	"duplex/apply"
	"duplex/conflicts"

	"github.com/prometheus/client_golang/prometheus"
)

// The metrics. They are read off the status when Prometheus asks, so that the
// two can't disagree.
var (
	captureLabels = []string{"region"}
	applyLabels   = []string{"task", "source", "target"}

	captureState        = desc("capture_state", "1 for the state that the capture is in", append(captureLabels, "state")...)
	captureRows         = desc("capture_rows_total", "changes of the region's own application that were published", captureLabels...)
	captureApplied      = desc("capture_applied_rows_total", "changes published that apply had written for other regions", captureLabels...)
	captureTransactions = desc("capture_transactions_total", "transactions published", captureLabels...)
	captureLag          = desc("capture_lag_seconds", "time from commit to publication of the newest transaction", captureLabels...)
	captureSeq          = desc("capture_seq", "number of the last local transaction published", captureLabels...)
	copyTables          = desc("capture_copy_tables", "tables of initial copies from this region, by whether they are copied", append(captureLabels, "copied")...)
	copyRows            = desc("capture_copy_rows", "rows of initial copies from this region: those copied, and those estimated to be left", append(captureLabels, "copied")...)
	retention           = desc("kafka_retention_seconds", "how long the topics of the region's tables keep records", captureLabels...)
	certificate         = desc("certificate_expires_timestamp_seconds", "when the first certificate in a file of the process file expires, Unix seconds", append(captureLabels, "file")...)
	captureDDL          = desc("capture_statements_total", "statements on captured tables", captureLabels...)
	captureQueue        = desc("capture_queue_bytes", "bytes read from the binlog and not yet published", captureLabels...)

	applyState        = desc("apply_state", "1 for the state that the stream is in", append(applyLabels, "state")...)
	applyRows         = desc("apply_rows_total", "changes of the source that were applied", applyLabels...)
	applyTransactions = desc("apply_transactions_total", "transactions of the source that were applied", applyLabels...)
	applyBatches      = desc("apply_batches_total", "database transactions that wrote them", applyLabels...)
	applyRetries      = desc("apply_retries_total", "batches tried again after a deadlock or lock wait", applyLabels...)
	applyEchoes       = desc("apply_echoes_filtered_total", "changes left out since another region than the source made them", applyLabels...)
	applyLag          = desc("apply_lag_seconds", "time from commit in the source to visible in the target", append(applyLabels, "quantile")...)
	applyConflicts    = desc("apply_conflicts_total", "rows that both regions had written without knowing of each other, by whose write stays", append(applyLabels, "winner")...)
	applyYielded      = desc("apply_yielded_rows_total", "rows deleted since another region gave their unique value to a newer row", applyLabels...)
	applyRecorded     = desc("apply_conflicts_recorded_total", "conflicts recorded in duplex.conflicts, by table, rule and whose write stays; table * is all beyond the first hundred", append(applyLabels, "table", "rule", "winner")...)
	applyVersions     = desc("apply_version_bytes", "memory taken by the versions of rows written lately, which are needed as long as an older write may come", applyLabels...)
	applySpilled      = desc("apply_spilled_bytes", "disk space taken by the versions of rows that there was no memory for", applyLabels...)
	applyRepaired     = desc("apply_repaired_rows_total", "rows put back after an older write had come over a newer one", applyLabels...)
	applyAhead        = desc("apply_clock_ahead_seconds", "how far the source's newest transaction was dated ahead of the clock here when it came: near 0 or negative if both clocks are right", applyLabels...)
	applyChanges      = desc("apply_changes_total", "changes of the source that were applied, by what they do", append(applyLabels, "op")...)
	applyBytes        = desc("apply_bytes_total", "bytes of those changes in Kafka, unpacked", applyLabels...)
	applyPart         = desc("apply_lag_part_seconds", "where the lag comes from: the source's capture, Kafka with what waits there, or apply", append(applyLabels, "part", "quantile")...)
	applyCanaryDelay  = desc("apply_canary_delay_seconds", "how long after its commit in the source all before the last canary was visible in the target", applyLabels...)
	applyCanaryAge    = desc("apply_canary_age_seconds", "how long ago the last canary that came was committed: where it grows, the stream is behind by that much", applyLabels...)
	applySeq          = desc("apply_seq", "number of the source's last transaction applied", applyLabels...)
	applyPartitions   = desc("apply_partitions", "with ordering key: partitions of the source's topics that this process has", applyLabels...)
	applyQueue        = desc("apply_queue_bytes", "bytes fetched and not yet assembled", applyLabels...)
)

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("duplex_"+name, help, labels, nil)
}

// Describe implements prometheus.Collector. What there is depends on the
// services that run, so nothing is promised.
func (r *Region) Describe(chan<- *prometheus.Desc) {}

// VersionBytes returns the memory that the versions of rows take.
func (r *Region) VersionBytes() (n int64) {
	for _, stream := range r.present() {
		n += stream.Status().VersionBytes
	}
	return n
}

// Collect implements prometheus.Collector.
func (r *Region) Collect(ch chan<- prometheus.Metric) {
	put := func(d *prometheus.Desc, kind prometheus.ValueType, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, kind, v, labels...)
	}
	const counter, gauge = prometheus.CounterValue, prometheus.GaugeValue
	process := r.cfg.Process
	put(retention, gauge, process.Kafka.Retention.Seconds(), string(process.Region))
	for _, file := range process.Certificates() {
		if at, any := expiry(file); any {
			put(certificate, gauge, float64(at.Unix()), string(process.Region), file)
		}
	}
	s := r.Status()
	if c := s.Capture; c != nil {
		region := string(c.Region)
		put(captureState, gauge, 1, region, string(c.State))
		put(captureRows, counter, float64(c.Rows), region)
		put(captureApplied, counter, float64(c.Applied), region)
		put(captureTransactions, counter, float64(c.Transactions), region)
		put(captureLag, gauge, float64(c.LagMillis)/1000, region)
		put(captureSeq, gauge, float64(c.Seq), region)
		put(captureDDL, counter, float64(c.DDL), region)
		put(captureQueue, gauge, float64(c.QueueBytes), region)
		if p := c.Copy; p != nil {
			put(copyTables, gauge, float64(p.TablesDone), region, "yes")
			put(copyTables, gauge, float64(p.Tables-p.TablesDone), region, "no")
			put(copyRows, gauge, float64(p.RowsDone), region, "yes")
			put(copyRows, gauge, float64(p.Rows-p.RowsDone), region, "no")
		}
	}
	for i := range s.Apply {
		a := &s.Apply[i]
		task, source, target := a.Task, string(a.Source), string(a.Target)
		put(applyState, gauge, 1, task, source, target, string(a.State))
		put(applyRows, counter, float64(a.Rows), task, source, target)
		put(applyTransactions, counter, float64(a.Transactions), task, source, target)
		put(applyBatches, counter, float64(a.Batches), task, source, target)
		put(applyRetries, counter, float64(a.Retries), task, source, target)
		put(applyEchoes, counter, float64(a.Echoes), task, source, target)
		put(applyLag, gauge, a.LagP50Millis/1000, task, source, target, "0.5")
		put(applyLag, gauge, a.LagP95Millis/1000, task, source, target, "0.95")
		put(applyLag, gauge, a.LagP99Millis/1000, task, source, target, "0.99")
		for op, n := range map[string]int64{"insert": a.Inserts, "update": a.Updates, "delete": a.Deletes, "copy": a.Copied} {
			put(applyChanges, counter, float64(n), task, source, target, op)
		}
		put(applyBytes, counter, float64(a.Bytes), task, source, target)
		for part, p := range map[string]apply.Part{"capture": a.LagParts.Capture, "kafka": a.LagParts.Kafka, "apply": a.LagParts.Apply} {
			put(applyPart, gauge, p.P50Millis/1000, task, source, target, part, "0.5")
			put(applyPart, gauge, p.P95Millis/1000, task, source, target, part, "0.95")
			put(applyPart, gauge, p.P99Millis/1000, task, source, target, part, "0.99")
		}
		if a.Canary != nil {
			put(applyCanaryDelay, gauge, a.Canary.DelayMillis/1000, task, source, target)
			put(applyCanaryAge, gauge, a.Canary.AgoMillis/1000, task, source, target)
		}
		put(applyConflicts, counter, float64(a.LocalWon), task, source, target, target)
		put(applyConflicts, counter, float64(a.RemoteWon), task, source, target, source)
		put(applyYielded, counter, float64(a.Yielded), task, source, target)
		for _, c := range a.Conflicts {
			winner := source
			if c.Won == conflicts.Local {
				winner = target
			}
			put(applyRecorded, counter, float64(c.Count), task, source, target, c.Table, c.Rule, winner)
		}
		put(applyRepaired, counter, float64(a.Repaired), task, source, target)
		put(applyVersions, gauge, float64(a.VersionBytes), task, source, target)
		put(applySpilled, gauge, float64(a.SpilledBytes), task, source, target)
		put(applyAhead, gauge, a.ClockAheadMillis/1000, task, source, target)
		put(applySeq, gauge, float64(a.Seq), task, source, target)
		put(applyPartitions, gauge, float64(a.Partitions), task, source, target)
		put(applyQueue, gauge, float64(a.QueueBytes), task, source, target)
	}
}
