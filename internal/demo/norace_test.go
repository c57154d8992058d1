//go:build !race

package demo

// Zero asks for the default, which is full size.
const testWidth, testHeight = 0, 0
