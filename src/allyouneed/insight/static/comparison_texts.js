// Texts of the comparison of two models.
import { addTexts } from "./texts.js";

addTexts({
  comparison: ["Compare", "비교하기"],
  cmLead: ["Two models on the same sentence: their translations, the next token at each position, and their heads.", "같은 문장을 두 모델로 봅니다. 번역, 위치마다의 다음 토큰, 헤드를 나란히 비교합니다."],
  cmModels: ["Models and translations", "모델과 번역"], cmLogP: ["Log probability (nats)", "로그 확률(nat)"], cmBy: ["by {0}", "{0}"],
  cmTranslationOf: ["Translation of {0}", "{0}의 번역"],
  cmLoss: ["Loss over {0} validation pairs, nats per token: {1} and {2}; per character: {3} and {4}.", "검증용 문장 쌍 {0}개의 손실(토큰당 nat): {1}, {2}. 글자당: {3}, {4}."],
  cmLossCharacters: ["Loss over {0} validation pairs, nats per character: {1} and {2} (the vocabularies differ, so that tokens cannot be compared).", "검증용 문장 쌍 {0}개의 손실(글자당 nat): {1}, {2}. 어휘가 달라서 토큰 단위로는 비교할 수 없습니다."],
  cmNoSet: ["No loss over a set: the first run has no validation text.", "첫 번째 실행에 검증용 텍스트가 없어 손실을 비교하지 않습니다."],
  cmNext: ["Next token", "다음 토큰"], cmNextNote: ["Both models get the same beginning. A stronger background colour means that their distributions differ more (Jensen–Shannon divergence, 0 to 1 bit); here {0} bits.", "두 모델에 같은 앞부분을 넣습니다. 배경색이 짙을수록 두 분포가 많이 다릅니다(옌센–섀넌 발산, 0–1비트). 이 위치는 {0}비트입니다."],
  cmVocabulary: ["The models have different vocabularies, so that their predictions and attention are not compared token by token.", "두 모델의 어휘가 달라서 예측과 어텐션을 토큰별로 비교하지 않습니다."],
  cmHeads: ["Heads", "헤드"], cmMatched: ["Match by similarity", "비슷한 헤드끼리"], cmMatchedNote: ["Heads have no fixed order: another seed may put the same head elsewhere in its layer. The match within each layer minimises the sum of distances, averaged over {0} sentences; a small distance means a similar pattern, not the same function.",
    "헤드에는 정해진 순서가 없어서, 시드가 다르면 같은 헤드가 층 안의 다른 자리에 올 수 있습니다. 층마다 문장 {0}개의 평균 거리의 합이 가장 작도록 짝지었습니다. 거리가 작으면 어텐션 모양이 비슷하다는 뜻이며, 기능이 같다는 뜻은 아닙니다."],
  cmDifference: ["Difference: first − second", "차이: 첫 번째 − 두 번째"], cmDifferenceNote: ["Orange: more attention in the first model, blue: in the second.", "주황: 첫 번째 모델의 어텐션이 더 큼, 파랑: 두 번째 모델이 더 큼."],
  cmShapes: ["The models differ in layers, heads or tokens, so that no differences are computed; choose a head in each.", "층, 헤드 또는 토큰이 서로 달라 차이를 계산하지 않습니다. 양쪽에서 헤드를 하나씩 고르세요."],
  cmDistance: ["distance", "거리"], cmAtIndex: ["same number", "같은 번호와"], cmEntropy: ["entropy, {0}", "엔트로피({0})"], cmTable: ["All heads of this kind", "이 종류의 모든 헤드"],
  cmTableNote: ["Distance: the share of attention that differs, 0 to 1, to the matched head and to the head with the same number. Entropy in nats, on this sentence.", "거리: 서로 다른 어텐션의 비율(0–1)이며, 짝지은 헤드와의 거리, 번호가 같은 헤드와의 거리입니다. 엔트로피는 이 문장에서 잰 값(nat)입니다."],
  cmPatchable: ["Both models have the same shapes, but patching is not shown: they predict the same tokens, or the sentence is too long.", "두 모델의 구조는 같지만, 예측이 같거나 문장이 길어서 패칭은 표시하지 않습니다."],
});
