package testbed

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	startLimit = 2 * time.Minute  // servers take seconds; a machine full of other tests may take this long
	stopLimit  = 30 * time.Second // then a server that was asked to stop is killed
)

// process is one server program: it can be started, stopped, killed and frozen any number of times, and never outlives
// the process that started it, however that one dies.
type process struct {
	name string
	argv []string
	env  []string // added to this process's environment
	dir  string   // working directory
	log  string   // file that gets stdout and stderr

	mu   sync.Mutex
	cmd  *exec.Cmd
	done chan struct{} // closed when cmd has ended
}

// start runs the program and returns as soon as it is forked.
func (p *process) start() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.alive() {
		return fmt.Errorf("starting %s: it already runs as process %d", p.name, p.cmd.Process.Pid)
	}
	out, err := os.OpenFile(p.log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return fmt.Errorf("starting %s: %w", p.name, err)
	}
	defer out.Close()
	cmd := exec.Command(p.argv[0], p.argv[1:]...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = p.dir, out, out
	cmd.Env = append(os.Environ(), p.env...)
	// A process group of its own keeps a terminal's Ctrl-C from reaching the server before its owner decides.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	forked, done := make(chan error, 1), make(chan struct{})
	go func() {
		// Linux sends Pdeathsig when the *thread* that forked ends, so that thread is held for the server's whole life.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		forked <- err
		if err == nil {
			_ = cmd.Wait() // how it ended shows in its log
			close(done)
		}
	}()
	if err := <-forked; err != nil {
		return fmt.Errorf("starting %s: %w", p.name, err)
	}
	p.cmd, p.done = cmd, done
	return nil
}

// alive needs p.mu.
func (p *process) alive() bool {
	if p.cmd == nil {
		return false
	}
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

func (p *process) running() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.alive()
}

// pid is that of the last start, 0 before any.
func (p *process) pid() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd == nil {
		return 0
	}
	return p.cmd.Process.Pid
}

// exited is closed once the program has ended; nil before the first start.
func (p *process) exited() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.done
}

func (p *process) signal(sig syscall.Signal) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.alive() {
		return fmt.Errorf("sending %s to %s: it isn't running", sig, p.name)
	}
	if err := p.cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("sending %s to %s: %w", sig, p.name, err)
	}
	return nil
}

// kill ends the program with SIGKILL and returns when it is gone; one that isn't running is left alone.
func (p *process) kill() error {
	if !p.running() {
		return nil
	}
	err := p.signal(syscall.SIGKILL)
	if err != nil && p.running() {
		return err
	}
	<-p.exited()
	return nil
}

// stop asks the program to end, frozen or not, and kills it if it hasn't within stopLimit.
func (p *process) stop() error {
	if !p.running() {
		return nil
	}
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGCONT} {
		if err := p.signal(sig); err != nil && p.running() {
			return err
		}
	}
	select {
	case <-p.exited():
		return nil
	case <-time.After(stopLimit):
		if err := p.kill(); err != nil {
			return err
		}
		return fmt.Errorf("stopping %s: it ignored SIGTERM for %v and was killed:\n%s", p.name, stopLimit, p.logTail())
	}
}

// freeze stops every thread of the program, which keeps its connections open and answers nothing.
func (p *process) freeze() error {
	if err := p.signal(syscall.SIGSTOP); err != nil {
		return err
	}
	for deadline := time.Now().Add(stopLimit); ; time.Sleep(time.Millisecond) {
		state, err := procState(p.pid())
		if err != nil {
			return fmt.Errorf("freezing %s: %w", p.name, err)
		}
		if state == 'T' {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("freezing %s: process %d is still in state %c", p.name, p.pid(), state)
		}
	}
}

func (p *process) thaw() error { return p.signal(syscall.SIGCONT) }

// await calls probe until it succeeds: a port that is open doesn't mean a server that answers.
func (p *process) await(ctx context.Context, probe func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	for {
		once, end := context.WithTimeout(ctx, 5*time.Second)
		err := probe(once)
		end()
		if err == nil {
			return nil
		}
		select {
		case <-p.exited():
			return fmt.Errorf("starting %s: it ended by itself; the end of %s:\n%s", p.name, p.log, p.logTail())
		case <-ctx.Done():
			return fmt.Errorf("starting %s: not ready (%w), last answer: %w; the end of %s:\n%s", p.name, ctx.Err(), err, p.log, p.logTail())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// logTail is the end of the program's log, for error messages.
func (p *process) logTail() string {
	text, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	return strings.Join(lines[max(0, len(lines)-20):], "\n")
}

// PeakRSS is the most memory, in bytes, that the running process pid ever held (VmHWM).
func PeakRSS(pid int) (int64, error) {
	text, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "status"))
	if err != nil {
		return 0, fmt.Errorf("reading peak memory of process %d: %w", pid, err)
	}
	for line := range strings.Lines(string(text)) {
		rest, ok := strings.CutPrefix(line, "VmHWM:")
		if !ok {
			continue
		}
		kib, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
		if err != nil {
			return 0, fmt.Errorf("reading peak memory of process %d: %w", pid, err)
		}
		return kib << 10, nil
	}
	return 0, fmt.Errorf("reading peak memory of process %d: it has none: it has ended and waits to be reaped", pid)
}

// procState is the state letter of /proc/<pid>/stat: R, S, D, T (stopped), Z …
func procState(pid int) (byte, error) {
	text, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		return 0, err
	}
	// The name before it stands in brackets and may hold anything, brackets too.
	after := text[strings.LastIndexByte(string(text), ')')+1:]
	if len(after) < 2 {
		return 0, fmt.Errorf("reading state of process %d: unexpected %q", pid, text)
	}
	return after[1], nil
}

// children lists the processes whose parent is pid, zombies left out.
func children(pid int) ([]int, error) {
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return nil, err
	}
	var found []int
	for _, file := range stats {
		text, err := os.ReadFile(file)
		if err != nil {
			continue // it ended meanwhile
		}
		fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
		if len(fields) > 1 && fields[1] == strconv.Itoa(pid) && fields[0] != "Z" {
			child, _ := strconv.Atoi(filepath.Base(filepath.Dir(file)))
			found = append(found, child)
		}
	}
	return found, nil
}
