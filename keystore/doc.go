// Package keystore holds the keys: the model, the Store interface that a
// database implements, and Cached, the view of a store that the gate decides
// on. It knows nothing of HTTP and takes its clock from outside.
package keystore
