/* gyrus.h: the engine's one public header. */
#ifndef GYRUS_H
#define GYRUS_H

#include "base.h"
#include "cpu.h"
#include "device.h"
#include "graph.h"
#include "group.h"
#include "model.h"
#include "module.h"
#include "ops.h"
#include "optim.h"
#include "plan.h"
#include "rng.h"
#include "state.h"
#include "threads.h"

#endif
