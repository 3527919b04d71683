/* matmul_out.h: what happens to a product's sums on the way out, for one float type T of suffix TNAME; included once a
 * type, after act.h. */
#define NAME_(name, type)  name##_##type
#define NAME__(name, type) NAME_(name, type)
#define NAME(name)         NAME__(name, TNAME)

/* An element of the result, with everything that is done on the way out. r: the residual of this product; NULL: none.
 */
GY_DEVICE T NAME(finished)(const matmul_args *a, T sum, int64_t row, int64_t col, const T *r) {
    sum *= (T)a->alpha;
    if (a->bias) sum += ((const T *)a->bias)[row * a->bias_row + col * a->bias_col];
    sum = NAME(gy_activate)(sum, a->act);
    return r ? sum + r[row * a->r_row + col * a->r_col] : sum;
}

/* Element e of a product whose depth was split: adds the parts in order and finishes it. */
GY_DEVICE void NAME(finish)(const matmul_args *a, const T *part, int parts, int64_t e) {
    int64_t each = a->m * a->n, all = each * a->batch, oa, ob, residual;
    if (e >= all) return;
    int64_t batch = e / each, row = e % each / a->n, col = e % a->n;
    T sum = 0;
    for (int i = 0; i < parts; i++) sum += part[e + i * all];
    matmul_batch(a, batch, &oa, &ob, &residual);
    const T *r = a->residual ? (const T *)a->residual + residual : NULL;
    ((T *)a->y)[batch * a->y_batch + row * a->y_row + col * a->y_col] = NAME(finished)(a, sum, row, col, r);
}

#undef NAME
#undef NAME__
#undef NAME_
