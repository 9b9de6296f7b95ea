// Package upsync mirrors the status of a WEC copy to its hub copy: one GET on the WEC, one JSON patch on the hub.
//
// Render is pure: it turns what a WEC says into what the hub may show (DESIGN.md law 6). Mirrorer reads, compares with what
// was observed before and writes. pkg/hub/lifecycle calls it; it creates and deletes nothing.
package upsync
