/* A handful of queries with factors in pairs, rounded as they are read. */
#include "attention_few.c"
