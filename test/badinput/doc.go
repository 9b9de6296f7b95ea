// Package badinput reads the tables of bad inputs: files testdata/badinput.yaml beside the parser that refuses them, or beside
// test/integration for what only an API server can show. Each case has the input, where a person sees what is wrong with it, and
// the exact words.
//
// The tests of the packages that own the parsers call Run; test/integration counts the cases of all tables.
package badinput
