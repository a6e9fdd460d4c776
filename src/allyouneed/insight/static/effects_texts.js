// Texts of effects.js.
import { addTexts } from "./texts.js";

addTexts({
  fx_title: ["Over {0} sentences", "문장 {0}개에서"],
  fx_changed: ["{0} of {1} greedy translations change.", "그리디 번역 {1}개 가운데 {0}개가 달라집니다."],
  fx_valid: ["The first {0} sentence pairs of the run's validation text with at most 64 tokens per side.", "이 실행(run)의 검증 텍스트에서 원문과 번역문이 각각 64토큰 이하인 처음 {0}개 문장 쌍입니다."],
  fx_file: ["The first {0} sentence pairs of {1} with at most 64 tokens per side.", "{1}에서 원문과 번역문이 각각 64토큰 이하인 처음 {0}개 문장 쌍입니다."],
  fx_log_p: ["log probability of the references, per token", "참조 번역의 토큰당 로그 확률"],
  fx_log_p_visible: ["log probability of the references, per token; without the mask, each token is visible where it is predicted", "참조 번역의 토큰당 로그 확률(마스크가 없으면 예측할 토큰이 그 자리에서 보입니다)"],
  fx_scaleTitle: ["What the division does to the gradient", "√dₖ로 나누는 것이 기울기에 미치는 영향"],
  fx_norm: ["Norm of the gradient of the loss with respect to W^Q and W^K", "W^Q와 W^K에 대한 손실 기울기의 노름"],
  fx_with: ["÷ √dₖ", "÷ √dₖ"], fx_without: ["not divided", "나누지 않음"], fx_lossWith: ["loss, ÷ √dₖ", "손실, ÷ √dₖ"], fx_lossWithout: ["loss, not divided", "손실, 나누지 않음"],
  fx_trained: ["this model", "이 모델"], fx_initial: ["random weights, as before training", "학습 전과 같은 무작위 가중치"],
  fx_normNote: ["All heads together, by automatic differentiation of the loss (nats per token) over {0} sentences.", "문장 {0}개의 손실(토큰당 nat)을 자동 미분해 모든 헤드를 합한 값입니다."],
  fx_factors: ["The gradient that reaches W^Q and W^K has several factors. The Jacobian of the softmax is one; the derivative of the scaled score, 1/√dₖ = {0} with the division and 1 without, is another. A smaller Jacobian therefore does not mean a smaller gradient.", "W^Q와 W^K에 이르는 기울기는 여러 인수의 곱입니다. 소프트맥스의 야코비 행렬이 그 하나이고, 나눈 점수의 미분(나눌 때 1/√dₖ = {0}, 나누지 않을 때 1)이 또 하나입니다. 따라서 야코비 행렬이 작아져도 기울기가 반드시 작아지는 것은 아닙니다."],
  fx_experiment: ["Experiment with random vectors", "무작위 벡터로 실험하기"],
});
