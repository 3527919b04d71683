/* nifti_space.c: what an affine says: grids, orientation, voxel <-> mm. */
#include "nifti.h"

#include <inttypes.h>
#include <math.h>

gy_status gy_nifti_same_grid(gy_ctx *ctx, const gy_nifti *a, const gy_nifti *b, double tol_mm) {
    for (int i = 0; i < 3; i++)
        if (a->dim[i] != b->dim[i])
            return gy_fail(ctx, GY_ERR_SHAPE,
                           "%s and %s: sizes differ: %" PRId64 " x %" PRId64 " x %" PRId64 " against %" PRId64
                           " x %" PRId64 " x %" PRId64,
                           a->file.path, b->file.path, a->dim[0], a->dim[1], a->dim[2], b->dim[0], b->dim[1],
                           b->dim[2]);
    /* The distance between two affine maps is convex, so its greatest value is at one of the 8 corners. */
    double worst = 0, at[3] = {0, 0, 0};
    for (int corner = 0; corner < 8; corner++) {
        double v[3], pa[3], pb[3];
        for (int i = 0; i < 3; i++) v[i] = corner >> i & 1 ? (double)(a->dim[i] - 1) : 0;
        gy_nifti_to_mm(a, v, pa);
        gy_nifti_to_mm(b, v, pb);
        double d = sqrt((pa[0] - pb[0]) * (pa[0] - pb[0]) + (pa[1] - pb[1]) * (pa[1] - pb[1]) +
                        (pa[2] - pb[2]) * (pa[2] - pb[2]));
        if (d > worst || isnan(d)) {
            worst = d;
            for (int i = 0; i < 3; i++) at[i] = v[i];
        }
    }
    if (worst <= tol_mm) return GY_OK;
    char ca[4], cb[4];
    gy_nifti_orientation(a, ca);
    gy_nifti_orientation(b, cb);
    return gy_fail(
        ctx, GY_ERR_SHAPE,
        "%s and %s: same sizes, other place: voxel (%g, %g, %g) lies %g mm apart (allowed: %g); axes %s, voxels %g x "
        "%g x %g mm against %s, %g x %g x %g mm",
        a->file.path, b->file.path, at[0], at[1], at[2], worst, tol_mm, ca, a->pixdim[0], a->pixdim[1], a->pixdim[2],
        cb, b->pixdim[0], b->pixdim[1], b->pixdim[2]);
}

char *gy_nifti_orientation(const gy_nifti *img, char buf[4]) {
    static const int orders[6][3] = {{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}};
    static const char letters[3][2] = {{'L', 'R'}, {'P', 'A'}, {'I', 'S'}};
    /* Of the six ways to give each voxel axis its own body axis, the one with the largest sum of cosines. */
    int best = 0;
    double most = -1;
    for (int o = 0; o < 6; o++) {
        double sum = 0;
        for (int j = 0; j < 3; j++) sum += fabs(img->affine[orders[o][j]][j]) / img->pixdim[j];
        if (sum > most + 1e-9) {
            most = sum;
            best = o;
        }
    }
    for (int j = 0; j < 3; j++) {
        int axis = orders[best][j];
        buf[j] = img->space == GY_NIFTI_SPACE_ANALYZE ? '?' : letters[axis][img->affine[axis][j] > 0];
    }
    buf[3] = 0;
    return buf;
}

void gy_nifti_to_mm(const gy_nifti *img, const double voxel[3], double mm[3]) {
    for (int i = 0; i < 3; i++)
        mm[i] = img->affine[i][0] * voxel[0] + img->affine[i][1] * voxel[1] + img->affine[i][2] * voxel[2] +
                img->affine[i][3];
}

bool gy_nifti_to_voxel(const gy_nifti *img, const double mm[3], double voxel[3]) {
    const double(*a)[4] = img->affine;
    double cofactor[3][3], d[3];
    for (int i = 0; i < 3; i++) {
        int i1 = (i + 1) % 3, i2 = (i + 2) % 3;
        for (int j = 0; j < 3; j++) {
            int j1 = (j + 1) % 3, j2 = (j + 2) % 3;
            cofactor[i][j] = a[i1][j1] * a[i2][j2] - a[i1][j2] * a[i2][j1];
        }
        d[i] = mm[i] - a[i][3];
    }
    double det = a[0][0] * cofactor[0][0] + a[0][1] * cofactor[0][1] + a[0][2] * cofactor[0][2];
    if (!isfinite(det) || det == 0) return false;
    for (int j = 0; j < 3; j++)
        voxel[j] = (cofactor[0][j] * d[0] + cofactor[1][j] * d[1] + cofactor[2][j] * d[2]) / det;
    return true;
}
