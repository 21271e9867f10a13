// Package linear holds histories of calls that ran at the same time, at one gate or at
// several, against small models: an order of the calls, as the model allows it and no call
// before another that had been answered by then, must exist. Whoever records a history
// notes a call's time before it is sent and after its answer is there.
//
// The models say what the contract says, and nothing of how gates keep it. They are here,
// and not with the tests, so that one node on its own file and several on one database
// answer to the same ones.
package linear
