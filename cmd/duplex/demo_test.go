package main

import (
	"bufio"
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

var lastLine = regexp.MustCompile(`^demo: ([1-9]\d*) rows written in east, ([1-9]\d*) in west, \d+ conflicts, 0 differences, 0 echoes$`)

// The real command, as a user runs it: both regions write, end up equal, and
// nothing stays behind.
func TestDemo(t *testing.T) {
	t.Parallel()
	d := startDemo(t, "DEMO_SECONDS=4")
	d.wait(t)
	if !strings.Contains(d.text(), "0 differences\n") || !strings.Contains(d.text(), "echoes filtered") {
		t.Errorf("it shows neither tables nor state:\n%s", d.text())
	}
}

// Ctrl-C ends the writing, not the demo: it still compares and cleans up.
func TestDemoInterrupted(t *testing.T) {
	t.Parallel()
	d := startDemo(t, "DEMO_SECONDS=600")
	for !strings.Contains(d.next(t), "rows/s written") {
	}
	if err := d.cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	d.wait(t)
}

func TestDemoRefusesNoTime(t *testing.T) {
	var out, errs bytes.Buffer
	if code := execute(t.Context(), []string{"demo", "--seconds", "0"}, &out, &errs); code != exitFailed || !strings.Contains(errs.String(), "give 1 or more") {
		t.Errorf("exit %d, %q", code, errs.String())
	}
}

type runningDemo struct {
	cmd   *exec.Cmd
	out   *bufio.Scanner
	lines []string
	errs  bytes.Buffer
	temp  string
}

func startDemo(t *testing.T, env string) *runningDemo {
	t.Helper()
	program := filepath.Join(t.TempDir(), "duplex")
	if out, err := exec.Command("go", "build", "-o", program, ".").CombinedOutput(); err != nil {
		t.Fatalf("building duplex: %v\n%s", err, out)
	}
	d := &runningDemo{cmd: exec.Command(program, "demo"), temp: t.TempDir()}
	d.cmd.Env = append(os.Environ(), env, "TMPDIR="+d.temp)
	d.cmd.Stderr = &d.errs
	pipe, err := d.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	d.out = bufio.NewScanner(pipe)
	if err := d.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	stuck := time.AfterFunc(5*time.Minute, func() { _ = d.cmd.Process.Kill() })
	t.Cleanup(func() { stuck.Stop() })
	return d
}

// next returns the next line of output, which there must be.
func (d *runningDemo) next(t *testing.T) string {
	t.Helper()
	if !d.out.Scan() {
		_ = d.cmd.Wait()
		t.Fatalf("the output ended:\n%s%s", d.text(), d.errs.String())
	}
	d.lines = append(d.lines, d.out.Text())
	return d.out.Text()
}

func (d *runningDemo) text() string { return strings.Join(d.lines, "\n") + "\n" }

// wait waits for the end and checks it.
func (d *runningDemo) wait(t *testing.T) {
	t.Helper()
	for d.out.Scan() {
		d.lines = append(d.lines, d.out.Text())
	}
	if err := d.cmd.Wait(); err != nil {
		t.Errorf("duplex demo: %v\n%s%s", err, d.text(), d.errs.String())
	}
	if last := d.lines[len(d.lines)-1]; !lastLine.MatchString(last) {
		t.Errorf("its last line is %q, want %s", last, lastLine)
	}
	left, err := filepath.Glob(filepath.Join(d.temp, "duplex-demo-*"))
	if err != nil || len(left) > 0 {
		t.Errorf("it left %v behind, %v", left, err)
	}
}
