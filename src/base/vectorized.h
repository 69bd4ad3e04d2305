// Loops that the compiler vectorises for the processor at hand.
#pragma once

// One clone a processor generation, chosen when the program is loaded. Sanitizers cannot instrument the resolver that
// does the choosing, so their builds have the plain function only.
#if defined(__x86_64__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__) && defined(__GNUC__) && \
    !defined(__clang__)
#define SPIKESCOPE_VECTORIZED __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define SPIKESCOPE_VECTORIZED
#endif
