// Package chaos runs Stellarflow while it is being broken, records everything, and checks the laws of DESIGN.md §3 in what was
// recorded. `make chaos` runs it (SEED and N from the environment, N is 10,000 otherwise); `make chaos-few` is what CI runs of it.
//
// What is real: kube-apiserver and etcd of a hub and two WECs with Argo's CRDs, config/ and the guard; the hub manager, as a process
// (test/chaos/manager, the same hub.Setup as cmd/hub with shorter times) with the rights of config/rbac, that reaches each API server
// through a TCP proxy. The hub's API server asks the webhooks of all managers that run through another, in the place of their Service.
//
// What is simulated: the Argo controllers. On a WEC one moves every Workflow through Running to an end by updates of the whole object
// and collects most finished ones at once; on the hub one runs the local Workflows, starts the clock of suspended ones, and tries to
// write "pod deleted" over mirrored ones. Each Workflow that runs
// on a WEC has one pod, which nobody changes and which goes with it (pods.go). There are no nodes of type Suspend. And the people: on the hub they create, in one
// namespace unsuspended where the hub holds them, delete, create again under the same name, resume, relabel, change and copy with all our
// keys; they suspend and resume what runs elsewhere, terminate and retry it, some twice and against each other, and change its labels and
// annotations (asks.go), as Argo's tools write and again while nobody answers; on the WECs they delete, delete by force, retry, suspend
// and resume.
//
// What is broken, by two lanes of episodes that the seed draws (schedule.go): the manager is killed at random and at its kth write,
// before it is sent or after it was answered; a second one waits to lead; the leader is paused for longer than its lease and goes on; a clone acts
// without an election;
// API servers are killed and paused, etcds killed, copied and set back to an older copy; connections are refused, held in one
// direction or both, slow; answers 403, 404, 429, 500, 502 and 504 of something in between, answers and requests that are lost,
// writes that arrive late, GETs answered from a cache, lists that are empty; wrong clocks. Then all is mended: everything has to end
// by itself (where the hub asks for a person, the person does what it says), is deleted, and has to be gone.
//
// The history (package history) is read from the etcds themselves: every revision of every Workflow, missed by nobody and invented
// by nobody, whatever the API servers do. The counts:
//
//   - started twice: runs that began beyond one for a hub copy, attempt by attempt, on any cluster and on the hub itself. One is excused:
//     the first copy was wiped out (its cluster set back, or by force while the manager that saw it died) before the hub was told.
//   - terminal lost: ends that the hub never showed; hub copies that went while their WEC copy was there; WEC copies made after that.
//   - false shown: states on the hub that no WEC copy of this Workflow and attempt ever had and that are none of our own words, older
//     ones after newer ones, and "was removed there" of what is there.
//   - foreign touched: changes of decoys: no label of ours, another hub's, or a lie about whose copy it is.
//   - finalizers stuck: what is unfinished or still there when all is mended and had its time.
//   - asks broken: what people ask on the hub (the intents, each with its ID) that was done twice, on a state that it was not asked of or
//     unasked; that was neither done nor refused with a sentence, or still waits when all is mended; that was done and is said to be
//     refused. And notes of people, a label and an annotation, that the copies have not got when all is mended.
//   - pods broken: real pods that went before their Workflow, although no person has deleted one on the hub, but only what stands for the garbage
//     collector there; mirrored pods that are left when all is deleted.
//
// A run that is retried counts as started once more, and there is one start for each retry that somebody asks for. One that is to be held is
// not started on the hub, but within seconds of the start of its API server, which may not have read the policies (docs/adr/0009).
//
// The checker is checked by TestMutants1 and 2: a manager is built with mutations, each breaks a law, and the run must report it. A seed
// reproduces the schedule, the plans of the people and the lives of the Workflows, not the interleaving of the processes. After a
// failure the directory that is named has history.jsonl (states and faults in order) and the log of every process; KEEP=1 keeps it
// after a success too.
package chaos
