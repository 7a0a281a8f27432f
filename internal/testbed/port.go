package testbed

import (
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
)

// Ports below Linux's ephemeral range (32768 and up): no outgoing connection takes one while its server is down.
const firstPort, lastPort = 20000, 31999

// port is a TCP port of 127.0.0.1 that belongs to this process until released, so that a server that is killed and
// started again finds its port free although many test processes run at once. The claim is a lock on a file that all
// test beds of the machine share; the kernel drops it with the process.
type port struct {
	number int
	claim  *os.File
}

func claimPort() (*port, error) {
	dir := filepath.Join(os.TempDir(), "duplex-testbed-ports")
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return nil, fmt.Errorf("claiming a port: %w", err)
	}
	_ = os.Chmod(dir, 0o777) // fails for all but its owner, who did it already
	for range 1000 {
		n := firstPort + rand.IntN(lastPort-firstPort+1)
		f, err := os.OpenFile(filepath.Join(dir, strconv.Itoa(n)), os.O_CREATE|os.O_RDWR, 0o666)
		if err != nil {
			continue // another user's
		}
		if syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) == nil && unused(n) {
			return &port{number: n, claim: f}, nil
		}
		f.Close()
	}
	return nil, fmt.Errorf("claiming a port: found none free between %d and %d in 1000 tries; claims are the locked files in %s", firstPort, lastPort, dir)
}

// unused tells whether nothing listens on port n, test bed or not.
func unused(n int) bool {
	// A child that is forked now would have the listener too until it is executed, and hold the port though it is closed here.
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	l, err := net.Listen("tcp", address(n))
	if err != nil {
		return false
	}
	return l.Close() == nil
}

func (p *port) address() string { return address(p.number) }

func (p *port) release() { p.claim.Close() }

func address(n int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(n)) }
