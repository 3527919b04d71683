/* city-networks.h: what the three files of City-Networks share; of no use outside them. city-networks.c is the paper,
 * city-networks_data.c its graphs and labels, city-networks_claim.c what is measured and claimed. */
#ifndef GY_ENCODING_CITY_NETWORKS_H
#define GY_ENCODING_CITY_NETWORKS_H

#include "../../core/gyrus.h"
#include "../../core/model.h"
#include "../blocks/gnn.h"
#include "../blocks/graph.h"

enum { MAX_HOPS = 64 };

typedef struct config {
    char arch[64], network[64]; /* sage, gcn, gat, cheb, sgformer, mlp; town, blocks */
    int64_t depth, width, project;
    int64_t side, features, classes, label_hops; /* of the generated town; 16 hops in the paper */
    int64_t steps;
    int64_t influence_nodes, influence_hops;
    double lr, weight_decay, dropout, train_share, valid_share;
} config;

enum { TRAIN = 1, VALID = 2, TEST = 3 };

/* A graph with features and labels. */
typedef struct city {
    gy_csr graph;
    int64_t features, classes;
    float *x;         /* [n, features] */
    int64_t *label;   /* [n] */
    uint8_t *part;    /* [n] TRAIN, VALID, TEST; 0: not used */
    double *position; /* [n, 2], of a generated town; NULL */
} city;

/* What evaluation found, for the report. */
typedef struct findings {
    bool done;
    int64_t hops;
    double curve[MAX_HOPS + 1], field; /* T_h / T_0, R */
    int64_t *predicted;                /* [n] */
} findings;

typedef struct lab {
    city data;
    findings found;
} lab;

/* ---- city-networks.c ---- */

/* The network as a model of nodes, for gy_total_influence: user is the config. */
gy_t gy_city_network(void *user, gy_mod *m, const gy_gnn_graph *g, gy_t x);

/* ---- city-networks_data.c ---- */

gy_status gy_city_open(gy_job *j) GY_MUST_CHECK; /* job->data: a lab */
void gy_city_close(gy_job *j);

/* ---- city-networks_claim.c ---- */

gy_status gy_city_evaluate(gy_job *j, gy_metrics *out) GY_MUST_CHECK;
gy_status gy_city_claim(gy_job *j, gy_claim *out) GY_MUST_CHECK;
gy_status gy_city_panels(gy_job *j, void *report) GY_MUST_CHECK; /* report: gy_report */

#endif
