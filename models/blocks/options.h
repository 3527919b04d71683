/* options.h: rows of a table of options (core/model.h) for members of a struct named `config`. For files of models
 * alone: the names are short because the tables are read like the papers' own tables of settings. */
#ifndef GY_BLOCKS_OPTIONS_H
#define GY_BLOCKS_OPTIONS_H

#include "../../core/model.h"

#define INT(n, lo, hi, help)                                                                                           \
    { #n, help, GY_OPT_INT, offsetof(config, n), lo, hi }
#define REAL(n, lo, hi, help)                                                                                          \
    { #n, help, GY_OPT_REAL, offsetof(config, n), lo, hi }
#define TEXT(n, help)                                                                                                  \
    { #n, help, GY_OPT_TEXT, offsetof(config, n), 0, 0 }

#endif
