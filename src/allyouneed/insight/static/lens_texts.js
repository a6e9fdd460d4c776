// Texts of the view of the logit lens.
import { addTexts } from "./texts.js";

addTexts({
  lens: ["Layer by layer", "층별 예측"],
  lensLead: ["The decoder passes one vector per position from layer to layer, and only the last one becomes a prediction. Here every earlier vector is read in the same way (logit lens), which shows at which layer the next token appears. Select a cell.",
    "디코더는 위치마다 벡터 하나를 층에서 층으로 넘기고, 마지막 벡터만 예측이 됩니다. 여기서는 앞선 벡터도 모두 같은 방법으로 읽어(로짓 렌즈) 다음 토큰이 어느 층에서 나타나는지 보여 줍니다. 칸을 선택해 보세요."],
  lensPre: ["Every vector goes through the final layer norm and the pre-softmax linear, as the last one does (nostalgebraist 2020).", "모든 벡터가 마지막 벡터처럼 최종 층 정규화와 소프트맥스 앞의 선형 층을 거칩니다(nostalgebraist 2020)."],
  lensPost: ["Every vector goes straight through the pre-softmax linear: in this model, as in the paper, each sub-layer already ends with a layer norm (post-norm), so that no further norm is needed (nostalgebraist 2020).", "모든 벡터가 곧바로 소프트맥스 앞의 선형 층을 거칩니다. 이 모델은 논문처럼 하위 층마다 층 정규화로 끝나므로(post-norm) 정규화를 더할 필요가 없습니다(nostalgebraist 2020)."],
  lensWithout: ["Every vector goes straight through the pre-softmax linear, as the last one does: this model has no final layer norm (nostalgebraist 2020).", "모든 벡터가 마지막 벡터처럼 곧바로 소프트맥스 앞의 선형 층을 거칩니다. 이 모델에는 최종 층 정규화가 없습니다(nostalgebraist 2020)."],
  lensLimit: ["Only the last layer was trained to be read this way. An earlier one may hold the answer in a form that this reading misses: if a token is absent, the model may know it nevertheless (Belrose et al. 2023).", "이렇게 읽히도록 학습된 것은 마지막 층뿐입니다. 앞의 층은 이 방법으로 읽지 못하는 형태로 답을 담고 있을 수 있으므로, 토큰이 보이지 않는다고 해서 모델이 모른다는 뜻은 아닙니다(Belrose et al. 2023)."],
  lensReadsBack: ["At {0} of {1} positions, the embedding reads back its own input token.", "위치 {1}개 중 {0}개에서 임베딩을 읽으면 입력 토큰이 그대로 나옵니다."],
  lensDecoder: ["Decoder: predictions", "디코더: 예측"], lensEncoder: ["Encoder: similar tokens", "인코더: 비슷한 토큰"],
  lensEncoderLead: ["The encoder predicts nothing. A cell shows the source token whose embedding has the direction most similar to the vector at this position (cosine similarity). This is a similarity, no prediction.", "인코더는 아무것도 예측하지 않습니다. 각 칸은 그 위치의 벡터와 임베딩의 방향이 가장 비슷한(코사인 유사도) 원문 토큰입니다. 유사도일 뿐 예측이 아닙니다."],
  lensFine: ["Every sub-layer", "하위 층까지 보기"],
  lensShade: ["Rows are layers, columns are input tokens; the token after ▸ comes next in the translation. Shade: probability. Bold: the token that is finally predicted. Arrow keys move.", "행은 층, 열은 입력 토큰이며 ▸ 뒤는 번역문의 다음 토큰입니다. 진할수록 확률이 높고, 굵은 글씨는 최종 예측 토큰입니다. 화살표 키로 이동합니다."],
  lensShadeEncoder: ["Rows are layers, columns are source tokens. Shade: cosine similarity. Bold: the input token itself. Arrow keys move.", "행은 층, 열은 원문 토큰입니다. 진할수록 코사인 유사도가 높고, 굵은 글씨는 입력 토큰 자신입니다. 화살표 키로 이동합니다."],
  embeddingState: ["Embedding", "임베딩"], layerState: ["Layer {0}", "{0}층"],
  encoderState: ["{0} self-attention", "{0} 셀프 어텐션"], decoderState: ["{0} self-attention", "{0} 셀프 어텐션"], crossState: ["{0} encoder–decoder", "{0} 인코더–디코더"], forwardState: ["{0} feed-forward", "{0} 피드포워드"],
  settlesRow: ["first stays at", "확정되는 층"],
  lensAfter: ["Input “{0}”, after {1}", "입력 “{0}”, {1} 직후"], lensAtEmbedding: ["Input “{0}”, at the embedding", "입력 “{0}”, 임베딩"],
  lensFinal: ["The final prediction is “{0}”. Here it has rank {1} and probability {2}; it is the most likely token from this state on: {3}.", "최종 예측은 “{0}”이며, 여기서는 순위 {1}, 확률 {2}입니다. 이 토큰이 가장 유력해져 끝까지 유지되는 첫 상태: {3}."],
  lensGiven: ["The translation continues with “{0}”, which has rank {1} and probability {2} here.", "번역문의 다음 토큰은 “{0}”이며, 여기서는 순위 {1}, 확률 {2}입니다."],
  lensOwn: ["The input token itself has rank {0} and similarity {1}.", "입력 토큰 자신의 순위는 {0}, 유사도는 {1}입니다."],
  lensTop: ["Most likely here", "여기서 가장 유력한 토큰"], lensNearest: ["Most similar here", "여기서 가장 비슷한 토큰"], lensProbability: ["probability", "확률"], lensSimilarity: ["cosine similarity", "코사인 유사도"], lensToken: ["token", "토큰"], lensCorpus: ["validation text", "검증 문장"],
  lensCurves: ["Follow a token through the layers", "토큰을 층별로 따라가기"], lensRankAxis: ["rank (logarithmic, 1 on top)", "순위(로그 축, 위가 1)"],
  lensAgreement: ["How often is the final token already on top?", "최종 토큰이 이미 1순위인 비율"], lensHere: ["this sentence", "이 문장"], lensMany: ["{0} tokens of {1} sentences", "문장 {1}개, 토큰 {0}개"],
  lensRankCap: ["{0} or more", "{0} 이상"],
});
