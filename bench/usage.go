package main

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"duplex/internal/testbed"
)

// ticksPerSecond is the unit of CPU times in /proc, which Linux fixes for
// programs whatever the kernel's own is.
const ticksPerSecond = 100

// meter measures what processes use from its making on.
type meter struct {
	pids   map[string]int
	before map[string]float64
}

// startMeter begins to measure the processes, given by name.
func startMeter(pids map[string]int) (*meter, error) {
	m := &meter{pids: pids, before: map[string]float64{}}
	for name, pid := range pids {
		seconds, err := cpuSeconds(pid)
		if err != nil {
			return nil, err
		}
		m.before[name] = seconds
	}
	return m, nil
}

// use is what a process has used.
type use struct {
	cpu  float64 // seconds since the meter's start
	peak float64 // memory in bytes, of its whole life
}

// read returns what each process has used.
func (m *meter) read() (map[string]use, error) {
	all := map[string]use{}
	for name, pid := range m.pids {
		seconds, err := cpuSeconds(pid)
		if err != nil {
			return nil, err
		}
		bytes, err := testbed.PeakRSS(pid)
		if err != nil {
			return nil, err
		}
		all[name] = use{cpu: seconds - m.before[name], peak: float64(bytes)}
	}
	return all, nil
}

func (m *meter) names() []string { return slices.Sorted(maps.Keys(m.pids)) }

// report writes CPU time since the start, and peak memory, of each process.
func (m *meter) report(to report, prefix string) error {
	used, err := m.read()
	if err != nil {
		return err
	}
	for _, name := range m.names() {
		to.figure(prefix+".cpu."+name, used[name].cpu, "s")
		to.figure(prefix+".peak_rss."+name, used[name].peak/(1<<20), "MiB")
	}
	return nil
}

// cpuSeconds returns the CPU time that a running process has used.
func cpuSeconds(pid int) (float64, error) {
	fields, err := processStat(pid)
	if err != nil {
		return 0, err
	}
	const user, system = 11, 12
	var ticks int64
	for _, field := range []string{fields[user], fields[system]} {
		n, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("reading the CPU time of process %d: %w", pid, err)
		}
		ticks += n
	}
	return float64(ticks) / ticksPerSecond, nil
}

// processStat returns what the kernel says of a process, from its state on
// (proc(5), /proc/pid/stat).
func processStat(pid int) ([]string, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return nil, fmt.Errorf("reading the CPU time of process %d: %w", pid, err)
	}
	// The name before the last bracket may hold anything.
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	if len(fields) < 20 {
		return nil, fmt.Errorf("reading the CPU time of process %d: unexpected %q", pid, text)
	}
	return fields, nil
}

// bystanders measures the CPU time of all programs but the given processes.
// What the kernel does in its own threads, as writing to the disk, is part of
// what they ask for.
type bystanders struct {
	pids   []int
	before float64
	began  time.Time
}

func startBystanders(pids []int) (*bystanders, error) {
	kernel, err := kernelThreads()
	if err != nil {
		return nil, err
	}
	b := &bystanders{pids: append(kernel, pids...), began: time.Now()}
	slices.Sort(b.pids)
	b.pids = slices.Compact(b.pids)
	b.before, err = b.seconds()
	return b, err
}

// cores returns how many cores they used on average since the start.
func (b *bystanders) cores() (float64, error) {
	now, err := b.seconds()
	return (now - b.before) / time.Since(b.began).Seconds(), err
}

// seconds returns the CPU seconds of all programs less those of the processes.
func (b *bystanders) seconds() (float64, error) {
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, fmt.Errorf("reading the machine's CPU time: %w", err)
	}
	line, _, _ := strings.Cut(string(text), "\n")
	var total float64
	for i, field := range strings.Fields(line)[1:] {
		const user, nice, system = 0, 1, 2
		if i != user && i != nice && i != system {
			continue
		}
		ticks, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("reading the machine's CPU time: %w", err)
		}
		total += float64(ticks) / ticksPerSecond
	}
	for _, pid := range b.pids {
		seconds, err := cpuSeconds(pid)
		switch {
		case errors.Is(err, fs.ErrNotExist): // a kernel thread that has ended
		case err != nil:
			return 0, err
		}
		total -= seconds
	}
	return total, nil
}

// kernelThreads returns the threads of the kernel: the children of the second
// process.
func kernelThreads() (pids []int, err error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, fmt.Errorf("listing processes: %w", err)
	}
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil {
			continue // no process
		}
		fields, err := processStat(pid)
		const parent = 1
		if err == nil && fields[parent] == "2" {
			pids = append(pids, pid)
		}
	}
	return pids, nil
}
