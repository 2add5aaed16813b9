/* Computes a mean loss and its gradient from C99, and checks them against known values. */
#include <logitloss/logitloss.h>
#include <stdio.h>

static int differs(double got, double wanted) {
  const double error = got - wanted;
  return error > 1e-14 || error < -1e-14;
}

int main(void) {
  const double logits[] = {0.0, 2.0, -3.0};
  const int8_t targets[] = {1, 0, 0};
  const int64_t shape[] = {3};
  /* ln 2, softplus(2) and softplus(-3), and the logistic function less the target. */
  const double mean = (0.69314718055994531 + 2.12692801104297249 + 0.04858735157374191) / 3;
  const double derivatives[] = {-0.5 / 3, 0.88079707797788244 / 3, 0.04742587317756678 / 3};
  double value = 0.0;
  double gradient[3] = {0};
  logitloss_report report;
  logitloss_bce_request request = {0};
  int i;
  request.struct_size = sizeof request;
  request.ndim = 1;
  request.shape = shape;
  request.logits.data = logits;
  request.logits.dtype = LOGITLOSS_FLOAT64;
  request.targets.data = targets;
  request.targets.dtype = LOGITLOSS_INT8;
  request.validate = 1;
  request.reduction = LOGITLOSS_MEAN;
  request.reduced_axes = 1;
  request.value.data = &value;
  request.value.dtype = LOGITLOSS_FLOAT64;
  request.gradient.data = gradient;
  request.gradient.dtype = LOGITLOSS_FLOAT64;
  if (logitloss_bce_with_logits(&request, &report) != LOGITLOSS_OK) {
    fprintf(stderr, "%s\n", report.message);
    return 1;
  }
  for (i = 0; i < 3; ++i) {
    if (differs(gradient[i], derivatives[i])) {
      fprintf(stderr, "gradient %d is %.17g, not %.17g\n", i, gradient[i], derivatives[i]);
      return 1;
    }
  }
  if (differs(value, mean)) {
    fprintf(stderr, "value is %.17g, not %.17g\n", value, mean);
    return 1;
  }
  printf("C: logitloss %s, %s, value %.15f\n", logitloss_version(), logitloss_isa(), value);
  return 0;
}
