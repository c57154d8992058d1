//go:build race

package demo

// The detector makes a pixel thirty times as dear, and pixels are drawn by one
// goroutine each, so fewer of them show the same races.
const testWidth, testHeight = 320, 240
