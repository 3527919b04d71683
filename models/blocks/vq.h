/* vq.h: vector quantisation: every vector becomes the nearest of K code vectors.
 *
 * van den Oord, Vinyals, Kavukcuoglu 2017, arXiv:1711.00937: q(z) = e_k, k = argmin_j |z - e_j|^2; the gradient of q
 * passes straight to z. Codes learn by the loss (codebook term), as running means of the vectors that chose them
 * (appendix A.1, EMA), or, on the sphere, by steps toward the direction of each batch's mean (BEiT v2, LaBraM). */
#ifndef GY_BLOCKS_VQ_H
#define GY_BLOCKS_VQ_H

#include "../../core/module.h"

typedef struct gy_vq_args {
    gy_site at;
    gy_mod *m;
    const char *name;
    gy_t z;           /* [..., D] */
    int64_t codes;    /* K */
    double decay;     /* of the running means, below 1; 0: codes learn by the loss */
    double commit;    /* weight of the term that keeps z near its code; 0: 0.25 */
    bool unit_length; /* z and codes at unit length: nearest by cosine (BEiT v2, arXiv:2208.06366) */
    bool directions;  /* with unit_length and decay: e' = unit(decay e + (1 - decay) unit(mean of its z)), a code that
                         nobody chose stays (LaBraM, arXiv:2405.18765); no states beside the codes */
} gy_vq_args;

typedef struct gy_vq {
    gy_t q;          /* z's shape: codes, with the gradient of z */
    gy_t index;      /* i64 [...] */
    gy_t loss;       /* scalar: commit |z - sg(e)|^2 (+ |sg(z) - e|^2 without EMA), means over elements */
    gy_t perplexity; /* scalar: exp of the entropy of this batch's choices, 1 .. K */
} gy_vq;

/* State name.weight [K, D]: a parameter, or with EMA a buffer beside name.cluster_size [K] and name.embed_avg [K, D]
 * (updated while training only; cluster sizes are smoothed by 1e-5 as in the paper's code). */
gy_vq gy_vq_(gy_vq_args a);
#define gy_vq_quantise(m, name, z, codes, ...) gy_vq_((gy_vq_args){GY_HERE, m, name, z, codes, __VA_ARGS__})
/* index [...] -> codes [..., D]; the same states. */
gy_t gy_vq_lookup(gy_mod *m, const char *name, gy_t index, int64_t codes, int64_t width, bool ema);

#endif
