package demo

import (
	"os"
	"testing"

	"duplex/internal/testbed"
)

var bed *testbed.Bed

func TestMain(m *testing.M) { os.Exit(testbed.Main(m, &bed)) }
