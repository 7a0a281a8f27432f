package e2e_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"duplex/internal/testbed"
	"duplex/region"
)

// password is that of Duplex's account on the servers, and secretEnv where the
// process files take it from. It must never be in a log.
const (
	secretEnv = "DUPLEX_E2E_PASSWORD"
	password  = "pa55-that-no-log-shows"
)

// limits of what must happen soon; generous, since machines are shared.
const (
	startLimit = 60 * time.Second
	exitLimit  = 20 * time.Second
)

// Process is one running of the program after another, with the same
// arguments: it can be killed, frozen, ended in order, and started again.
type Process struct {
	Name   string
	Listen string // where it serves its status; "" if it doesn't
	t      *testing.T
	args   []string
	env    []string
	logAt  string

	mu   sync.Mutex
	cmd  *exec.Cmd
	done chan struct{} // closed when cmd has ended
	peak int64         // bytes, over all runs that were looked at
}

// newProcess describes a process; Start starts it. When the test ends it is
// killed if it still runs, and the end of its log is shown if the test failed.
func newProcess(t *testing.T, name, listen string, args ...string) *Process {
	t.Helper()
	p := &Process{
		Name: name, Listen: listen, t: t, args: append([]string{program.path(t)}, args...),
		env: []string{secretEnv + "=" + password, "GORACE=halt_on_error=1"}, logAt: filepath.Join(t.TempDir(), "log"),
	}
	t.Cleanup(func() {
		if p.Running() {
			p.Kill()
		}
		if t.Failed() {
			t.Logf("the end of the log of %s:\n%s", p.Name, p.LogTail(40))
		}
		p.checkDiscreet()
	})
	return p
}

// argument returns the argument that follows a flag.
func (p *Process) argument(flag string) string { return p.args[slices.Index(p.args, flag)+1] }

// Start starts the process, with more variables such as DUPLEX_FAILPOINT=….
func (p *Process) Start(env ...string) {
	p.t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	log, err := os.OpenFile(p.logAt, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		p.t.Fatalf("starting %s: %v", p.Name, err)
	}
	defer log.Close()
	cmd := exec.Command(p.args[0], p.args[1:]...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Env = append(append(os.Environ(), p.env...), env...)
	// It must not outlive the test process. The signal comes when the thread
	// that forked ends, so that thread is held.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	forked, done := make(chan error, 1), make(chan struct{})
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		forked <- err
		if err == nil {
			_ = cmd.Wait() // ProcessState tells
			close(done)
		}
	}()
	if err := <-forked; err != nil {
		p.t.Fatalf("starting %s: %v", p.Name, err)
	}
	p.cmd, p.done = cmd, done
}

// current returns the running of now: nil before the first Start.
func (p *Process) current() (*exec.Cmd, chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.cmd, p.done
}

// Running reports whether the process runs, frozen or not.
func (p *Process) Running() bool {
	_, done := p.current()
	if done == nil {
		return false
	}
	select {
	case <-done:
		return false
	default:
		return true
	}
}

// Signal sends a signal. It fails the test if the process has ended by itself.
func (p *Process) Signal(sig syscall.Signal) {
	p.t.Helper()
	cmd, _ := p.current()
	if err := cmd.Process.Signal(sig); err != nil {
		p.t.Fatalf("sending %s to %s: %v; the end of its log:\n%s", sig, p.Name, err, p.LogTail(20))
	}
}

// Kill ends the process with SIGKILL and waits until it is gone.
func (p *Process) Kill() {
	p.t.Helper()
	p.notePeak()
	p.Signal(syscall.SIGKILL)
	if state := p.Wait(exitLimit); !killed(state) {
		p.t.Errorf("%s ended by itself before it was killed: %s; the end of its log:\n%s", p.Name, state, p.LogTail(20))
	}
}

// Term asks the process to end, which it must do soon and with exit code 0. It
// returns how long that took.
func (p *Process) Term() time.Duration {
	p.t.Helper()
	p.notePeak()
	began := time.Now()
	p.Signal(syscall.SIGTERM)
	if state := p.Wait(exitLimit); state.ExitCode() != 0 {
		p.t.Errorf("%s was asked to end and gave: %s; the end of its log:\n%s", p.Name, state, p.LogTail(20))
	}
	return time.Since(began)
}

// Wait waits until the process has ended and returns how.
func (p *Process) Wait(limit time.Duration) *os.ProcessState {
	p.t.Helper()
	cmd, done := p.current()
	select {
	case <-done:
		return cmd.ProcessState
	case <-time.After(limit):
		p.Signal(syscall.SIGQUIT) // it shows its goroutines
		<-done
		p.t.Fatalf("%s has not ended within %s; the end of its log:\n%s", p.Name, limit, p.LogTail(2000))
		return nil
	}
}

func killed(state *os.ProcessState) bool {
	status, ok := state.Sys().(syscall.WaitStatus)
	return ok && status.Signaled() && status.Signal() == syscall.SIGKILL
}

// Status asks the process how it is.
func (p *Process) Status() (s region.Status, err error) {
	body, code, err := p.get("/status")
	if err != nil {
		return s, err
	}
	if code != http.StatusOK {
		return s, fmt.Errorf("%s: /status gives %d: %s", p.Name, code, body)
	}
	if err := json.Unmarshal(body, &s); err != nil {
		return s, fmt.Errorf("%s: reading status: %w", p.Name, err)
	}
	return s, nil
}

func (p *Process) get(path string) (body []byte, code int, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+p.Listen+path, nil)
	if err != nil {
		return nil, 0, err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, 0, fmt.Errorf("%s: %w", p.Name, err)
	}
	defer res.Body.Close()
	if body, err = io.ReadAll(io.LimitReader(res.Body, 16<<20)); err != nil {
		return nil, 0, fmt.Errorf("%s: %w", p.Name, err)
	}
	return body, res.StatusCode, nil
}

// Streaming returns nil if all services of the process stream.
func (p *Process) Streaming() error {
	body, code, err := p.get("/readyz")
	if err == nil && code != http.StatusOK {
		err = fmt.Errorf("%s: %s", p.Name, strings.TrimSpace(string(body)))
	}
	return err
}

// WaitStreaming waits until all services of the process stream.
func (p *Process) WaitStreaming() {
	p.t.Helper()
	eventually(p.t, startLimit, func() error {
		if !p.Running() {
			return final(fmt.Errorf("%s has ended by itself: %s", p.Name, p.cmd.ProcessState))
		}
		return p.Streaming()
	})
}

// notePeak looks at the most memory that the running process ever held.
func (p *Process) notePeak() {
	cmd, done := p.current()
	if done == nil || !p.Running() {
		return
	}
	if rss, err := testbed.PeakRSS(cmd.Process.Pid); err == nil { // else it has just ended
		p.mu.Lock()
		p.peak = max(p.peak, rss)
		p.mu.Unlock()
	}
}

// PeakRSS returns the most memory, in bytes, that any running of the process
// held, as far as it was looked at: now, at Kill and at Term.
func (p *Process) PeakRSS() int64 {
	p.notePeak()
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.peak
}

// Log returns all that the process has written.
func (p *Process) Log() string {
	text, err := os.ReadFile(p.logAt)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err.Error()
	}
	return string(text)
}

// LogTail returns its last lines.
func (p *Process) LogTail(lines int) string {
	all := strings.Split(strings.TrimSpace(p.Log()), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}

// checkDiscreet proves that neither the password nor a value of a row is in
// the log (promise 10).
func (p *Process) checkDiscreet() {
	for line := range strings.Lines(p.Log()) {
		if strings.Contains(line, password) || strings.Contains(line, rowSentinel) {
			p.t.Errorf("the log of %s shows a secret or a value of a row: %s", p.Name, line)
		}
	}
}

// runProgram runs the program to its end and returns what it wrote and its
// exit code.
func runProgram(t *testing.T, args ...string) (output string, exit int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), startLimit)
	defer cancel()
	cmd := exec.CommandContext(ctx, program.path(t), args...)
	cmd.Env = append(os.Environ(), secretEnv+"="+password)
	text, err := cmd.CombinedOutput()
	var ended *exec.ExitError
	if err != nil && !errors.As(err, &ended) {
		t.Fatalf("running duplex %s: %v", strings.Join(args, " "), err)
	}
	return string(text), cmd.ProcessState.ExitCode()
}
