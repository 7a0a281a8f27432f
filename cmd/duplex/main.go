// Command duplex keeps the same MySQL tables writable in two or more regions.
// Each subcommand has a file of its own here, which reads its settings, wires
// the packages together, and does nothing else.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/alecthomas/kong"
)

// The exit codes.
const (
	exitDone   = 0
	exitFailed = 1
	exitUsage  = 2
)

// commands are the subcommands and their flags.
type commands struct {
	JSON bool `help:"Write JSON: logs of run, capture and apply, results of the others." name:"json"`

	Run       runCommand       `cmd:"" help:"Capture and apply of one region in one process."`
	Capture   captureCommand   `cmd:"" help:"Only the capture of a region."`
	Apply     applyCommand     `cmd:"" help:"Only the apply of a region."`
	Check     checkCommand     `cmd:"" help:"Check every precondition of both sides; print the statement that mends each."`
	Task      taskCommand      `cmd:"" help:"The life of a task: create, start, pause, stop, edit, copy, reset, delete, list, show."`
	Status    statusCommand    `cmd:"" help:"Show each stream: state, lag, rows, position, what stopped it and how to go on."`
	Resume    resumeCommand    `cmd:"" help:"Have services that have stopped go on, once their cause is mended."`
	Replay    replayCommand    `cmd:"" help:"Have apply read transactions of another region again."`
	Conflicts conflictsCommand `cmd:"" help:"List, show and undo conflicts: two regions' writes of one row, of which one was lost."`
	Demo      demoCommand      `cmd:"" help:"Two regions, both writing, kept equal, shown live."`
	Version   versionCommand   `cmd:"" help:"Print the version."`
}

// environment is what every subcommand gets.
type environment struct {
	ctx    context.Context
	stdout io.Writer
	stderr io.Writer
	json   bool
}

// logger returns the program's log, on stderr.
func (e *environment) logger() *slog.Logger {
	if e.json {
		return slog.New(slog.NewJSONHandler(e.stderr, nil))
	}
	return slog.New(slog.NewTextHandler(e.stderr, nil))
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	os.Exit(execute(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// errFailed ends a command whose own output has told why.
var errFailed = errors.New("failed")

// execute runs one command line and returns the exit code.
func execute(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	var c commands
	exited := -1
	parser, err := kong.New(&c, kong.Name("duplex"),
		kong.Description("Keeps the same MySQL tables writable in two or more regions."),
		kong.UsageOnError(), kong.Writers(stdout, stderr), kong.Exit(func(code int) { exited = code }))
	if err != nil {
		fmt.Fprintln(stderr, "duplex:", err)
		return exitFailed
	}
	command, err := parser.Parse(args)
	if exited >= 0 {
		return exited // --help
	}
	if err != nil {
		fmt.Fprintf(stderr, "duplex: %v; see duplex --help\n", err)
		return exitUsage
	}
	err = command.Run(&environment{ctx, stdout, stderr, c.JSON})
	switch {
	case err == nil:
		return exitDone
	case errors.Is(err, errFailed):
		return exitFailed
	default:
		fmt.Fprintf(stderr, "duplex: %v\n", err)
		return exitFailed
	}
}

// version returns the program's version, from what the build recorded.
func version() string {
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" && info.Main.Version != "(devel)" {
		return info.Main.Version
	}
	return "0.1.0"
}

type versionCommand struct{}

// Run prints the version.
func (versionCommand) Run(env *environment) error {
	_, err := fmt.Fprintln(env.stdout, "duplex", version())
	return err
}
