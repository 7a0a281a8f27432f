package testbed

import (
	"net"
	"os/exec"
	"sync"
	"testing"
)

// A port that was found unused is so though other goroutines start servers: a child process
// must not hold what was opened to find that out.
func TestClaimedPortIsFree(t *testing.T) {
	stop := make(chan struct{})
	var wg sync.WaitGroup
	defer wg.Wait()
	defer close(stop)
	for range 4 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					_ = exec.Command("true").Run()
				}
			}
		})
	}
	for range 2000 {
		p, err := claimPort()
		if err != nil {
			t.Fatal(err)
		}
		l, err := net.Listen("tcp", p.address())
		p.release()
		if err != nil {
			t.Fatal(err)
		}
		l.Close()
	}
}
