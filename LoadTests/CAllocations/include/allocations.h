// Counts what a program takes from the heap: for benchmarks alone.
#ifndef ALLOCATIONS_H
#define ALLOCATIONS_H

#include <stdint.h>

// Calls of malloc, calloc, realloc and their aligned kin since the program began, of all threads.
uint64_t allocations_count(void);

#endif
