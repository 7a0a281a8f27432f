package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"duplex/demo"

	"golang.org/x/term"
)

type demoCommand struct {
	Seconds int `env:"DEMO_SECONDS" default:"30" placeholder:"N" help:"How long the applications write."`
}

// Run shows two regions at work. It fails unless they end up equal and nothing
// came back to where it was made. The first Ctrl-C ends the writing, the
// second everything.
func (c *demoCommand) Run(env *environment) error {
	if c.Seconds < 1 {
		return fmt.Errorf("demo: --seconds (or DEMO_SECONDS) is %d; mend: give 1 or more", c.Seconds)
	}
	ctx, cancel := context.WithCancelCause(context.WithoutCancel(env.ctx))
	defer cancel(nil)
	again := make(chan os.Signal, 1)
	defer signal.Stop(again)
	context.AfterFunc(env.ctx, func() { signal.Notify(again, syscall.SIGINT, syscall.SIGTERM) })
	go func() {
		select {
		case <-again:
			cancel(errors.New("the demo was interrupted while it compared the regions"))
		case <-ctx.Done():
		}
	}()
	result, failed := demo.Run(ctx, demo.Config{
		Writing: time.Duration(c.Seconds) * time.Second, Enough: env.ctx.Done(), Out: env.stdout, Width: width(env.stdout), Version: version(),
	})
	if result == nil {
		return failed
	}
	if env.json {
		if err := json.NewEncoder(env.stdout).Encode(result); err != nil {
			return fmt.Errorf("writing result: %w", err)
		}
	}
	if _, err := fmt.Fprintln(env.stdout, result); err != nil {
		return fmt.Errorf("writing result: %w", err)
	}
	if failed == nil && !result.Good() {
		failed = errFailed
	}
	return failed
}

// width returns the columns of the terminal that out is, 0 if it is none.
func width(out io.Writer) int {
	file, ok := out.(*os.File)
	if !ok || !term.IsTerminal(int(file.Fd())) {
		return 0
	}
	columns, _, err := term.GetSize(int(file.Fd()))
	if err != nil {
		return 0
	}
	return columns
}
