package statement

import "math/big"

func newInt(digits string) (*big.Int, bool) { return new(big.Int).SetString(digits, 10) }

// fixed returns n in two's complement of that many bytes, if it fits.
func fixed(n *big.Int, size int) ([]byte, bool) {
	limit := new(big.Int).Lsh(big.NewInt(1), uint(8*size-1))
	if n.Cmp(limit) >= 0 || n.Cmp(new(big.Int).Neg(limit)) < 0 {
		return nil, false
	}
	mod := new(big.Int).Mod(n, new(big.Int).Lsh(limit, 1))
	return mod.FillBytes(make([]byte, size)), true
}
