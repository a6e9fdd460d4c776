// Texts of scaling.js.
import { addTexts } from "./texts.js";

addTexts({
  scaleTry: ["Experiment: random vectors as dₖ grows", "실험: dₖ가 커질 때의 무작위 벡터"],
  scaleBrief: ["{0} queries and {1} keys of random numbers, drawn in your browser. Entropy measures how evenly a query spreads its weight over the keys: {2} if all get the same, 0 if one gets everything.", "브라우저에서 뽑은 무작위 수로 만든 쿼리 {0}개와 키 {1}개입니다. 엔트로피는 쿼리의 가중치가 키에 얼마나 고르게 나뉘는지를 나타냅니다. 모두 같으면 {2}, 하나가 전부 차지하면 0입니다."],
  scaleTryText: ["{0} queries and {1} keys with independent random components of mean 0 and variance 1, as at the start of training. The page computes the softmax of each query with and without the division; uniform weights would have the entropy {2} nats.",
    "학습을 시작할 때처럼 성분이 서로 독립이고 평균이 0, 분산이 1인 무작위 쿼리 {0}개와 키 {1}개입니다. 나눌 때와 나누지 않을 때의 소프트맥스를 이 페이지에서 직접 계산합니다. 가중치가 모두 같으면 엔트로피는 {2} nat입니다."],
  scaleAgain: ["Draw new vectors", "벡터 다시 뽑기"], scaleWith: ["÷ √dₖ", "÷ √dₖ"], scaleWithout: ["not divided", "나누지 않음"],
  scale_entropy: ["Entropy, nats", "엔트로피(nat)"], scale_largest: ["Largest weight", "가장 큰 가중치"],
  scale_jacobian: ["Jacobian ‖diag(p) − p pᵀ‖", "야코비 행렬 ‖diag(p) − p pᵀ‖"], scale_gradient: ["Gradient of the query", "쿼리의 기울기"],
  scale_gradientMedian: ["Gradient of the query, median", "쿼리의 기울기, 중앙값"], scale_saturated: ["Queries with ‖Jacobian‖ < 0.001", "‖야코비 행렬‖ < 0.001인 쿼리"],
  scaleBars: ["Weights of the first query over the keys.", "첫 번째 쿼리가 각 키에 주는 가중치입니다."],
  scaleLesson: ["At dₖ = {0}, without the division, the largest weight is {2} on average instead of {1}, the norm of the softmax’s Jacobian {4} instead of {3}, and the weights of {7} of the queries hardly react to their scores. The Jacobian is one factor of the gradient; the other is 1/√dₖ with the division and 1 without. The mean gradient of a query is {6} without and {5} with the division. Without it, entropy and gradient depend on dₖ, and the gradient comes from the queries that are still undecided; with it, both are nearly the same for every dₖ.",
    "dₖ = {0}에서 나누지 않으면 가장 큰 가중치의 평균이 {1}에서 {2}(으)로, 소프트맥스의 야코비 행렬 노름이 {3}에서 {4}(으)로 바뀌고, 쿼리의 {7}는 점수가 바뀌어도 가중치가 거의 그대로입니다. 야코비 행렬은 기울기를 이루는 인수 가운데 하나이고, 다른 하나는 나눌 때 1/√dₖ, 나누지 않을 때 1입니다. 쿼리 기울기의 평균은 나눌 때 {5}, 나누지 않을 때 {6}입니다. 나누지 않으면 엔트로피와 기울기가 dₖ에 따라 달라지고, 기울기는 아직 한쪽으로 쏠리지 않은 쿼리에서만 나옵니다. 나누면 둘 다 dₖ와 관계없이 거의 같습니다."],
});
