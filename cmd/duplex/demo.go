package main

import "errors"

type demoCommand struct{}

// Run is filled in next.
func (demoCommand) Run(*environment) error { return errors.New("not built yet") }
